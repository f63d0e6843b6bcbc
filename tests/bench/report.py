"""Tables of the results in markdown: figures beside their floors, their spread, the shapes side by side."""

import json
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench.contestants import OURS, YARDSTICK
from tests.bench.results import Results
from tests.bench.rows import Floor, Row

NONE = "–"


@dataclass(frozen=True, slots=True)
class Section:
    """One table: `rows` with the keys that the samples have, and who took part, in the order of the columns."""

    title: str
    rows: Sequence[Row]
    contestants: Sequence[str]
    rivals: Sequence[str]  # contestants that pog has a column of ratios to

    def shown(self, results: Results) -> list[Row]:
        """Rows that somebody has a figure for, or pog should have: a floor without a figure is a floor missed."""
        return [row for row in self.rows if row.key in results.samples or row.floor]

    @property
    def pairs(self) -> list[tuple[str, str]]:
        return [(OURS, rival) for rival in self.rivals if OURS in self.contestants]


def verdict(results: Results, section: Section, row: Row) -> str:
    """PASS or MISS for pog, which misses a floor without a figure too; empty where there is nothing to compare."""
    relative = row.floor is not None and row.floor.of_yardstick
    if row.floor is None or OURS not in section.contestants or (relative and YARDSTICK not in section.contestants):
        return ""
    value = results.ratio(row, OURS, YARDSTICK) if relative else results.median(row.key, OURS)
    return "PASS" if value is not None and row.floor.reached(value) else "MISS"


def table(results: Results, section: Section) -> str:
    """Medians of the rounds, and the medians of their ratios."""
    pairs, rows = section.pairs, section.shown(results)
    floors = any(row.floor for row in rows)
    head = ["work", *(["floor"] if floors else []), *section.contestants, *(f"{a} / {b}" for a, b in pairs)]
    lines = [_line(*head, *([""] if floors else []))]
    numbers = ["---:"] * (len(section.contestants) + len(pairs))
    lines.append(_line("---", *(["---"] if floors else []), *numbers, *(["---"] if floors else [])))
    for row in rows:
        cells = [row.title, *([_floor(row.floor)] if floors else [])]
        cells += [_number(results.median(row.key, name), row.digits) for name in section.contestants]
        cells += [_number(results.ratio(row, *pair), 2) for pair in pairs]
        lines.append(_line(*cells, *([verdict(results, section, row)] if floors else [])))
    return "\n".join(lines)


def spread(results: Results, section: Section) -> str:
    """Lowest and highest of the rounds, of figures and of ratios: what a difference between two medians is worth."""
    pairs = section.pairs
    lines = [_line("lowest … highest", *section.contestants, *(f"{a} / {b}" for a, b in pairs))]
    lines.append(_line("---", *["---:"] * (len(section.contestants) + len(pairs))))
    for row in section.shown(results):
        cells = [_range(results.of(row.key, name).values(), row.digits) for name in section.contestants]
        cells += [_range(results.ratios((row.key, ours), (row.key, theirs)), 2) for ours, theirs in pairs]
        lines.append(_line(row.title, *cells))
    return "\n".join(lines)


def side_by_side(results: Results, rows: Iterable[Row], prefixes: Sequence[str], contestant: str) -> str:
    """One contestant in several shapes: a column for each prefix of the keys, and its ratio to the first of them."""
    first, *others = prefixes
    lines = [_line(contestant, *prefixes, *(f"{other} / {first}" for other in others))]
    lines.append(_line("---", *["---:"] * (len(prefixes) + len(others))))
    for row in rows:
        keys = [f"{prefix}: {row.key}" for prefix in prefixes]
        medians = [results.median(key, contestant) for key in keys]
        if all(median is None for median in medians):
            continue
        ratios = [results.ratios((key, contestant), (keys[0], contestant)) for key in keys[1:]]
        cells = [_number(median, row.digits) for median in medians]
        lines.append(_line(row.title, *cells, *(_number(statistics.median(r) if r else None, 2) for r in ratios)))
    return "\n".join(lines)


def summary(results: Results, sections: Iterable[Section]) -> str:
    verdicts = [found for section in sections for row in section.rows if (found := verdict(results, section, row))]
    text = f"{verdicts.count('PASS')} of {len(verdicts)} floors reached" if verdicts else "no floors to compare with"
    return "\n".join([text, *(f"problem: {problem}" for problem in results.problems)])


def save(results: Results, path: Path, about: Sequence[str]) -> None:
    document = {"about": about, "samples": results.samples, "problems": results.problems}
    path.write_text(json.dumps(document, indent=1) + "\n")


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _number(value: float | None, digits: int) -> str:
    return NONE if value is None else f"{value:,.{digits}f}"


def _range(values: Iterable[float], digits: int) -> str:
    found = list(values)
    return f"{_number(min(found), digits)} … {_number(max(found), digits)}" if found else NONE


def _floor(floor: Floor | None) -> str:
    if floor is None:
        return ""
    return f"{floor.bound.value} {floor.value:,g}" + (f" × {YARDSTICK}" if floor.of_yardstick else "")
