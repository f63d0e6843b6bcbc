"""What the benchmark makes of its samples, and what it says of the machine; tests/system runs it as a whole."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench.catalogue import measures
from tests.bench.contestants import OURS, YARDSTICK, choose
from tests.bench.machine import python_build
from tests.bench.measures import FULL
from tests.bench.processes import cpu_seconds
from tests.bench.programs import BenchError
from tests.bench.report import Section, side_by_side, spread, table, verdict
from tests.bench.results import Results
from tests.bench.rounds import pick
from tests.bench.rows import Floor, Row, at_least, at_most, share

SPEED = Row("h2c: speed", "speed, MB/s", 0, share(0.6))
BEFORE = "before"


def results(**samples: list[float | None]) -> Results:
    """Samples of SPEED by contestant, one a round; None is a round that gave none."""
    found = Results()
    for contestant, values in samples.items():
        for number, value in enumerate(values, start=1):
            if value is not None:
                found.add(number, YARDSTICK if contestant == "haproxy" else contestant, {SPEED.key: value})
    return found


def section(*rows: Row) -> Section:
    return Section("h2c", rows, [YARDSTICK, OURS, BEFORE], [YARDSTICK, BEFORE])


def test_a_ratio_is_taken_within_a_round() -> None:
    """The machine was four times slower in the second and third round: the medians differ, the trees do not."""
    found = results(pog=[400, 100, 100], before=[400, 100, None])
    assert (found.median(SPEED.key, OURS), found.median(SPEED.key, BEFORE)) == (100, 250)
    assert found.ratio(SPEED, OURS, BEFORE) == 1.0


def test_a_round_without_one_of_both_has_no_ratio() -> None:
    found = results(pog=[None, 200, 300], before=[100, None, 100])
    assert found.ratios((SPEED.key, OURS), (SPEED.key, BEFORE)) == [3.0]
    assert results(pog=[100]).ratio(SPEED, OURS, BEFORE) is None


def test_nothing_is_divided_by_what_is_shown_as_zero() -> None:
    assert results(pog=[5], before=[0.4]).ratio(SPEED, OURS, BEFORE) is None
    assert results(pog=[5], before=[0]).ratios((SPEED.key, OURS), (SPEED.key, BEFORE)) == []


@pytest.mark.parametrize(
    ("floor", "pog", "expected"),
    [
        (share(0.6), [60], "PASS"),
        (share(0.6), [59], "MISS"),
        (share(0.6), [], "MISS"),
        (at_least(60), [59, 60, 99], "PASS"),
        (at_most(60), [61], "MISS"),
        (at_most(60), [], "MISS"),
        (None, [60], ""),
    ],
)
def test_the_verdict(floor: Floor | None, pog: list[float | None], expected: str) -> None:
    row = Row(SPEED.key, SPEED.title, 0, floor)
    assert verdict(results(pog=pog, haproxy=[100, 100, 100]), section(row), row) == expected


def test_the_tables() -> None:
    found, shown = (
        results(pog=[50, 70], haproxy=[100, 100], before=[100, 70]),
        section(SPEED, Row("h2c: other", "other")),
    )
    assert table(found, shown).splitlines() == [
        "| work | floor | haproxy x2 | pog | before | pog / haproxy x2 | pog / before |  |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | --- |",
        "| speed, MB/s | ≥ 0.6 × haproxy x2 | 100 | 60 | 85 | 0.60 | 0.75 | PASS |",
    ]
    assert spread(found, shown).splitlines()[2:] == [
        "| speed, MB/s | 100 … 100 | 50 … 70 | 70 … 100 | 0.50 … 0.70 | 0.50 … 1.00 |"
    ]


def test_the_shapes_stand_side_by_side() -> None:
    found = results(pog=[100, 200])
    found.add(1, OURS, {"hop: speed": 25, "hop: front": 3})
    rows = (Row("speed", "speed, MB/s"), Row("front", "the front's"), Row("none", "nobody's"))
    assert side_by_side(found, rows, ["h2c", "hop"], OURS).splitlines() == [
        "| pog | h2c | hop | hop / h2c |",
        "| --- | ---: | ---: | ---: |",
        "| speed, MB/s | 150 | 25 | 0.25 |",
        "| the front's | – | 3 | – |",
    ]


def test_every_figure_has_one_row() -> None:
    keys = [row.key for measure in measures(FULL) for row in measure.rows]
    assert len(keys) == len(set(keys))
    with pytest.raises(BenchError, match="no such measure: downn; there are content"):
        pick(measures(FULL), "downn,up")
    assert "instructions" not in [measure.name for measure in pick(measures(FULL), None)]
    assert [measure.name for measure in pick(measures(FULL), "instructions,open")] == ["open", "instructions"]


def test_another_tree_without_an_environment_is_refused_with_what_to_do(tmp_path: Path) -> None:
    able, skipped = choose("direct", [f"old={tmp_path}"])
    assert [each.name for each in able] == ["direct"]
    assert f"make -C {tmp_path} .venv/.run" in skipped["old"]


def test_another_program_takes_part_beside_pog() -> None:
    program = Path(sys.executable).parent / "pog"
    able, skipped = choose("pog", [str(program)])
    assert ([each.name for each in able], skipped) == (["pog", BEFORE], {})
    assert [each.rival for each in able] == [False, True]


def test_how_a_python_was_built(tmp_path: Path) -> None:
    assert python_build(Path(sys.executable)).startswith(f"CPython {sys.version.split()[0]}, built ")
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho no such library >&2\nexit 127\n")
    broken.chmod(0o755)
    assert python_build(broken) == f"{broken} does not run: no such library"


SPENDER = """
import time
while time.process_time() < 0.05: pass
print(time.process_time(), flush=True)
input()
"""


def test_the_cpu_time_of_another_process() -> None:
    """It is exact where ticks of 10 ms would round."""
    command = [sys.executable, "-c", SPENDER]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout
        assert child.stdin
        spent = float(child.stdout.readline())
        seen = cpu_seconds(child.pid)
        child.stdin.write("\n")
    assert seen >= spent >= 0.05
