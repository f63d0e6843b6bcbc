"""Rounds: in each, every measure meets every contestant in turn, so a slow minute of the machine hits all alike."""

import argparse
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench.catalogue import Measure
from tests.bench.contestants import DEFAULT, Contestant, choose
from tests.bench.ground import Entrant, Ground, StartError, entered
from tests.bench.machine import Others, description, python_build, revision
from tests.bench.programs import BenchError
from tests.bench.report import Section, save, spread, summary, table
from tests.bench.results import Results
from tests.bench.shapes import Shape


@dataclass(slots=True)
class Arena:
    """Where contestants meet: a shape on a ground. `label` goes before the keys of the figures.

    Who does not start there is struck out of `contestants`; `measures` are the names of what is measured there.
    """

    label: str
    shape: Shape
    ground: Ground
    contestants: list[Contestant]
    measures: Sequence[str]


def options(description: str, rounds: int) -> argparse.ArgumentParser:
    """The options that both benchmarks have."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, help=f"number of rounds ({rounds}; 1 with --quick)")
    parser.add_argument("--only", metavar="NAME,..", help="only these measures")
    parser.add_argument("--contestants", metavar="NAME,..", help=f"instead of {', '.join(DEFAULT)}")
    parser.add_argument(
        "--against",
        metavar="[NAME=]PATH",
        action="append",
        default=[],
        help='another pog within the same rounds: a checkout that has a .venv, or a program; it is called "before" '
        "unless named; repeatable",
    )
    parser.add_argument("--quick", action="store_true", help="little work: for a first look, or a machine that is busy")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write every sample there as well")
    parser.set_defaults(usual_rounds=rounds)
    return parser


def rounds_of(given: argparse.Namespace) -> int:
    """How many rounds were asked for."""
    return int(given.rounds or (1 if given.quick else given.usual_rounds))


def split(names: str | None, known: Sequence[str], what: str) -> list[str] | None:
    """Names of a comma-separated list, in the order of `known`; None when there is no list.

    Raises BenchError for a name that is not known.
    """
    if names is None:
        return None
    wanted = {name.strip() for name in names.split(",")}
    if unknown := wanted - set(known):
        raise BenchError(f"no such {what}: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    return [name for name in known if name in wanted]


def pick(every: Sequence[Measure], only: str | None) -> list[Measure]:
    """Raises BenchError for a name that there is not."""
    names = split(only, [measure.name for measure in every], "measure")
    return [measure for measure in every if (measure.usual if names is None else measure.name in names)]


def pick_contestants(given: argparse.Namespace) -> list[Contestant]:
    """Says on stderr who does not take part and why; raises BenchError when nobody is left."""
    able, skipped = choose(given.contestants, given.against)
    for name, reason in skipped.items():
        say(f"{name} is skipped: {reason}")
    if not able:
        raise BenchError("no contestant can run here")
    return able


def one_round(number: int, measures: Sequence[Measure], arenas: Sequence[Arena], results: Results) -> None:
    """Adds a sample of every measure, arena and contestant to `results`.

    Contestants take their turns in the opposite order in every second round: who comes first has no advantage.
    """
    for measure in measures:
        for arena in arenas:
            if measure.name in arena.measures:
                for contestant in arena.contestants[:: 1 if number % 2 else -1]:
                    _one_sample(number, measure, arena, contestant, results)


def _one_sample(number: int, measure: Measure, arena: Arena, contestant: Contestant, results: Results) -> None:
    where = f"{contestant.name}, {arena.label}{measure.name}"
    started: list[Entrant] = []

    @contextmanager
    def enter(*, bulk: bool = False, under: Mapping[str, Sequence[str]] | None = None) -> Iterator[Entrant]:
        with entered(contestant, arena.shape, arena.ground, bulk=bulk, under=under) as entrant:
            started.append(entrant)
            yield entrant

    try:
        figures = measure.take(enter)
    except BenchError as error:
        results.note(f"{where}: {error}")
        if isinstance(error, StartError):
            results.note(f"{contestant.name}: no further part in {arena.shape.name}")
            arena.contestants.remove(contestant)
        return
    results.add(number, contestant.name, {arena.label + key: value for key, value in figures.items()})
    shown = "  ".join(f"{key} {value:,.4g}" for key, value in figures.items())
    say(f"{arena.label}{measure.name}: {contestant.name}: {shown}")
    for text, count in (problem for entrant in started for problem in entrant.problems.items()):
        results.note(f"{where}: {text} ({count} times)")
        say(f"  {text} ({count} times)")


class About:
    """What the figures are measured with: said before the tables. To be made before the first round."""

    def __init__(self, rounds: int, contestants: Sequence[Contestant]) -> None:
        self.rounds = rounds
        self._others = Others()
        self._programs = [
            f"{each.name}: {revision(each.tree) if each.tree else each.python.parent}; {python_build(each.python)}"
            for each in contestants
            if each.python
        ]

    def lines(self) -> list[str]:
        """To be asked when no process of the benchmark runs any more."""
        taken = f"{self._others.share():.0%} of the CPU time went to work that was not the benchmark's"
        rounds = "1 round" if self.rounds == 1 else f"{self.rounds} interleaved rounds, medians"
        return [f"{rounds}; {description()}; {taken}", *self._programs]


def conclude(results: Results, sections: Iterable[Section], about: About, to: Path | None, *more: str) -> None:
    """Prints the tables, then `more`; saves the samples when a file is named."""
    sections, lines = list(sections), about.lines()
    print("\n" + "\n".join(lines))
    for section in sections:
        print(f"\n{section.title}\n\n{table(results, section)}")
        if about.rounds > 1:
            print(f"\n{spread(results, section)}")
    for text in (*more, summary(results, sections)):
        print(f"\n{text}")
    if to is not None:
        save(results, to, lines)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
