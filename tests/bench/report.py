"""Results of the rounds: medians, the ratio to the yardstick, and whether each row's floor is reached."""

import json
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench.contestants import OURS, YARDSTICK
from tests.bench.measures import Bound, Figures, Floor, Row

NONE = "–"


@dataclass(slots=True)
class Results:
    """Samples by row and contestant, in the order of the rounds, and what went wrong on the way."""

    contestants: Sequence[str]
    samples: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def add(self, contestant: str, figures: Figures) -> None:
        for key, value in figures.items():
            self.samples.setdefault(key, {}).setdefault(contestant, []).append(value)

    def note(self, text: str) -> None:
        if text not in self.problems:
            self.problems.append(text)

    def median(self, key: str, contestant: str) -> float | None:
        values = self.samples.get(key, {}).get(contestant)
        return statistics.median(values) if values else None

    def ratio(self, key: str, digits: int) -> float | None:
        """None also where the yardstick's figure is shown as zero: the quotient would say nothing."""
        ours, theirs = self.median(key, OURS), self.median(key, YARDSTICK)
        return ours / theirs if ours is not None and theirs is not None and round(theirs, digits) else None

    def verdict(self, row: Row) -> str:
        """PASS or MISS for pog, which misses a floor without a figure too; empty where there is nothing to compare."""
        relative = row.floor is not None and row.floor.of_yardstick
        if row.floor is None or OURS not in self.contestants or (relative and YARDSTICK not in self.contestants):
            return ""
        value = self.ratio(row.key, row.digits) if relative else self.median(row.key, OURS)
        if value is None:
            return "MISS"
        reached = value >= row.floor.value if row.floor.bound is Bound.AT_LEAST else value <= row.floor.value
        return "PASS" if reached else "MISS"


def table(results: Results, rows: Iterable[Row]) -> str:
    """Medians of the rounds as a markdown table."""
    lines = [_line("work", "floor", *results.contestants, f"{OURS} / {YARDSTICK}", "")]
    lines.append(_line("---", "---", *("---:" for _ in results.contestants), "---:", "---"))
    for row in rows:
        medians = (_number(results.median(row.key, name), row.digits) for name in results.contestants)
        ratio = _number(results.ratio(row.key, row.digits), 2)
        lines.append(_line(row.title, _floor(row.floor), *medians, ratio, results.verdict(row)))
    return "\n".join(lines)


def spread(results: Results, rows: Iterable[Row]) -> str:
    """Lowest and highest of the rounds, as a markdown table: what a difference between two medians is worth."""
    lines = [_line("lowest to highest", *results.contestants), _line("---", *("---:" for _ in results.contestants))]
    for row in rows:
        cells = []
        for name in results.contestants:
            values = results.samples.get(row.key, {}).get(name)
            cells.append(f"{_number(min(values), row.digits)} … {_number(max(values), row.digits)}" if values else NONE)
        lines.append(_line(row.title, *cells))
    return "\n".join(lines)


def summary(results: Results, rows: Iterable[Row]) -> str:
    verdicts = [verdict for row in rows if (verdict := results.verdict(row))]
    text = f"{verdicts.count('PASS')} of {len(verdicts)} floors reached" if verdicts else f"no figures of {OURS}"
    return "\n".join([text, *(f"problem: {problem}" for problem in results.problems)])


def save(results: Results, path: Path, about: str) -> None:
    path.write_text(
        json.dumps({"about": about, "samples": results.samples, "problems": results.problems}, indent=1) + "\n"
    )


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _number(value: float | None, digits: int) -> str:
    return NONE if value is None else f"{value:,.{digits}f}"


def _floor(floor: Floor | None) -> str:
    if floor is None:
        return ""
    return f"{floor.bound.value} {floor.value:,g}" + (f" × {YARDSTICK}" if floor.of_yardstick else "")
