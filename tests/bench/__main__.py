"""Benchmark on loopback, in three shapes (`make bench`): direct, two chained haproxy, pog's portable path, pog.

A C load generator is the user, a C origin the destination; both are compiled at run time and are fast enough not to be
the limit. Every measure runs on freshly started processes. In each round the contestants take turns at each measure.
A table for each shape shows the medians of the rounds, the median of the ratios to two haproxy in TCP mode with
splicing (the limit for two hops), and PASS or MISS against the floors. A floor that is missed fails no run.

  shapes:   h2c (cleartext), tls (TLS ended in front of the server), hop (TLS and an HTTP/2 proxy in front)
  measures: content down up down16 open plain echo beside neighbours idle stop stuff churn; see measures.py
            tls and hop take content, down, up, open, echo and beside, unless --only names others
            instructions (of the CPU, a tunnel, by valgrind) is taken when --only names it

Two trees, so that the machine's mood hits both:
  make bench ARGS="--against ../before --contestants pog --only open,down --quick --rounds 5"
"""

import sys
import tempfile
from argparse import Namespace
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from tests.bench.catalogue import Measure, measures
from tests.bench.contestants import OURS, Contestant
from tests.bench.ground import LOOPBACK, Ground, origin_on
from tests.bench.measures import FULL, QUICK
from tests.bench.processes import end_on_signals, raise_file_limit
from tests.bench.programs import BenchError, compile_programs
from tests.bench.report import Section, side_by_side
from tests.bench.results import Results
from tests.bench.rounds import (
    About,
    Arena,
    conclude,
    one_round,
    options,
    pick,
    pick_contestants,
    rounds_of,
    say,
    split,
)
from tests.bench.rows import Row
from tests.bench.shapes import H2C, Tuning, shapes


def arguments() -> Namespace:
    tuning = Tuning()
    parser = options(__doc__ or "", rounds=3)
    parser.add_argument("--shapes", metavar="NAME,..", help="only these shapes")
    parser.add_argument(
        "--front-window",
        type=int,
        default=tuning.window,
        metavar="BYTES",
        help=f"the window that the HTTP/2 hop gives a stream ({tuning.window})",
    )
    parser.add_argument(
        "--front-buffer",
        type=int,
        default=tuning.buffer,
        metavar="BYTES",
        help=f"the hop's buffer, which bounds its frames ({tuning.buffer})",
    )
    return parser.parse_args()


def arenas_on(ground: Ground, given: Namespace, chosen: Sequence[Measure], able: list[Contestant]) -> Iterator[Arena]:
    """One for each shape that somebody can enter. Raises BenchError for a shape that there is not."""
    every = shapes(Tuning(given.front_window, given.front_buffer))
    names = split(given.shapes, [shape.name for shape in every], "shape")
    for shape in every:
        entrants = [contestant for contestant in able if shape.name in contestant.shapes]
        if not entrants or (names is not None and shape.name not in names):
            continue
        if (reason := shape.why_not()) is not None:
            say(f"{shape.name} is skipped: {reason}")
            continue
        usual = shape.measures if given.only is None else None
        taken = [measure.name for measure in chosen if usual is None or measure.name in usual]
        yield Arena(f"{shape.name}: ", shape, ground, entrants, taken)


def section(arena: Arena, contestants: Sequence[Contestant], rows: Sequence[Row]) -> Section:
    """The table of one shape. The floors are those of the cleartext shape."""
    floors = arena.shape is H2C
    keyed = [replace(row, key=arena.label + row.key, floor=row.floor if floors else None) for row in rows]
    here = [contestant for contestant in contestants if arena.shape.name in contestant.shapes]
    rivals = [contestant.name for contestant in here if contestant.rival]
    title = f"{arena.shape.name}: {arena.shape.title}"
    return Section(title, keyed, [contestant.name for contestant in here], rivals)


def main() -> None:
    given = arguments()
    chosen, contestants = pick(measures(QUICK if given.quick else FULL), given.only), pick_contestants(given)
    results, about = Results(), About(rounds_of(given), contestants)
    with tempfile.TemporaryDirectory(prefix="pog-bench-") as folder:
        programs = compile_programs(Path(folder))
        with origin_on(LOOPBACK, LOOPBACK, programs, Path(folder)) as ground:
            arenas = list(arenas_on(ground, given, chosen, contestants))
            for number in range(1, about.rounds + 1):
                say(f"round {number} of {about.rounds}")
                one_round(number, chosen, arenas, results)
    rows = {arena.label: [row for m in chosen if m.name in arena.measures for row in m.rows] for arena in arenas}
    sections = [section(arena, contestants, rows[arena.label]) for arena in arenas]
    names = [arena.shape.name for arena in arenas]
    everywhere = [row for measure in chosen for row in measure.rows]
    side = side_by_side(results, everywhere, names, OURS) if len(names) > 1 else ""
    conclude(results, sections, about, given.json, *([side] if side else []))


if __name__ == "__main__":
    end_on_signals()
    raise_file_limit()
    try:
        main()
    except BenchError as error:
        sys.exit(str(error))
