"""Benchmark on loopback (`make bench`): a direct connection, two chained haproxy, pog's portable path, pog.

A C load generator is the user, a C origin the destination; both are compiled at run time and are fast enough not to be
the limit. Every measure runs on freshly started processes. In each round the contestants take turns at each measure.
The table shows the medians of the rounds, the ratio to two haproxy in TCP mode with splicing (the limit for two hops),
and PASS or MISS against the floors. A floor that is missed is reported; it does not fail the run.

  measures: content down up down16 open echo beside neighbours idle stop stuff churn; what each does is in measures.py
"""

import sys
import tempfile
from pathlib import Path

from tests.bench.ground import LOOPBACK, origin_on
from tests.bench.measures import FULL, QUICK, measures
from tests.bench.processes import end_on_signals, raise_file_limit
from tests.bench.programs import BenchError, compile_programs
from tests.bench.report import Results
from tests.bench.rounds import conclude, one_round, options, pick, pick_contestants, say


def main() -> None:
    given = options(__doc__ or "", rounds=3).parse_args()
    scale, rounds = (QUICK, 1) if given.quick else (FULL, given.rounds)
    chosen, contestants = pick(measures(scale), given.only), pick_contestants(given.contestants)
    results = Results([contestant.name for contestant in contestants])
    with tempfile.TemporaryDirectory(prefix="pog-bench-") as folder:
        programs = compile_programs(Path(folder))
        with origin_on(LOOPBACK, LOOPBACK, programs, Path(folder)) as ground:
            for number in range(1, rounds + 1):
                say(f"round {number} of {rounds}")
                one_round(chosen, contestants, ground, results)
    conclude(results, [row for measure in chosen for row in measure.rows], rounds, given.json)


if __name__ == "__main__":
    end_on_signals()
    raise_file_limit()
    try:
        main()
    except BenchError as error:
        sys.exit(str(error))
