"""Rounds: in each, every measure meets every contestant in turn, so a slow minute of the machine hits all alike."""

import argparse
import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.bench.contestants import DEFAULT, Contestant, choose
from tests.bench.ground import Ground, StartError, entered
from tests.bench.measures import Measure, Row
from tests.bench.programs import BenchError
from tests.bench.report import Results, save, spread, summary, table


def options(description: str, rounds: int) -> argparse.ArgumentParser:
    """The options that both benchmarks have."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=rounds, help=f"medians of so many rounds ({rounds})")
    parser.add_argument("--only", metavar="NAME,..", help="only these measures")
    parser.add_argument("--contestants", metavar="NAME,..", help=f"instead of {', '.join(DEFAULT)}")
    parser.add_argument("--quick", action="store_true", help="little work, one round: to see that everything runs")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write every sample there as well")
    return parser


def pick(every: Sequence[Measure], only: str | None) -> list[Measure]:
    """Raises BenchError for a name that there is not."""
    if only is None:
        return list(every)
    wanted = [name.strip() for name in only.split(",")]
    if unknown := set(wanted) - {measure.name for measure in every}:
        raise BenchError(
            f"no such measure: {', '.join(sorted(unknown))}; there are {', '.join(measure.name for measure in every)}"
        )
    return [measure for measure in every if measure.name in wanted]


def pick_contestants(names: str | None) -> list[Contestant]:
    """Says on stderr who does not take part and why; raises BenchError when nobody is left."""
    able, skipped = choose(names)
    for name, reason in skipped.items():
        say(f"{name} is skipped: {reason}")
    if not able:
        raise BenchError("no contestant can run here")
    return able


def one_round(
    measures: Sequence[Measure],
    contestants: list[Contestant],
    ground: Ground,
    results: Results,
    *,
    label: str = "",
) -> None:
    """Adds a sample of every measure and contestant to `results`; a contestant that does not start leaves the contest.

    `label` goes before the keys of the figures, where one measure runs on several grounds.
    """
    for measure in measures:
        for contestant in tuple(contestants):
            try:
                with entered(contestant, ground, bulk=measure.bulk) as entrant:
                    figures = measure.run(entrant)
            except BenchError as error:
                results.note(f"{contestant.name}, {label}{measure.name}: {error}")
                if isinstance(error, StartError):
                    results.note(f"{contestant.name} takes no further part")
                    contestants.remove(contestant)
                continue
            results.add(contestant.name, {label + key: value for key, value in figures.items()})
            shown = "  ".join(f"{key} {value:,.4g}" for key, value in figures.items())
            say(f"{label}{measure.name}: {contestant.name}: {shown}")
            for text, count in entrant.problems.items():
                results.note(f"{contestant.name}, {label}{measure.name}: {text} ({count} times)")
                say(f"  {text} ({count} times)")


def conclude(results: Results, rows: Sequence[Row], rounds: int, to: Path | None) -> None:
    """Prints the tables; saves the samples when a file is named."""
    machine = f"{len(os.sched_getaffinity(0))} cores, {platform.machine()}, Linux {platform.release()}"
    about = f"medians of {rounds} interleaved rounds, {machine}, Python {platform.python_version()}"
    print(f"\n{about}\n\n{table(results, rows)}\n")
    if rounds > 1:
        print(f"{spread(results, rows)}\n")
    print(summary(results, rows))
    if to is not None:
        save(results, to, about)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
