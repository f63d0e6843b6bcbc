"""What the rounds gave: samples by row, contestant and round; medians, and ratios between figures of the same round."""

import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.bench.rows import Row


@dataclass(slots=True)
class Results:
    """`samples[row key][contestant][round]`, and what went wrong on the way."""

    samples: dict[str, dict[str, dict[int, float]]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def add(self, number: int, contestant: str, figures: Mapping[str, float]) -> None:
        """Keeps the figures of one contestant in round `number`."""
        for key, value in figures.items():
            self.samples.setdefault(key, {}).setdefault(contestant, {})[number] = value

    def note(self, text: str) -> None:
        """Keeps a problem, once."""
        if text not in self.problems:
            self.problems.append(text)

    def of(self, key: str, contestant: str) -> dict[int, float]:
        """Samples by round; empty where there are none."""
        return self.samples.get(key, {}).get(contestant, {})

    def median(self, key: str, contestant: str) -> float | None:
        """None where there is no sample."""
        values = self.of(key, contestant).values()
        return statistics.median(values) if values else None

    def ratios(self, over: tuple[str, str], under: tuple[str, str]) -> list[float]:
        """The quotient of two figures, each (row key, contestant), in every round that has both.

        Both were measured minutes apart at most, so a slow hour of the machine is in both and cancels. A round in which
        the lower figure is zero has no quotient.
        """
        upper, lower = self.of(*over), self.of(*under)
        return [value / lower[number] for number, value in sorted(upper.items()) if lower.get(number)]

    def ratio(self, row: Row, ours: str, theirs: str) -> float | None:
        """The median of the rounds' ratios; None also where their figure is shown as zero: it would say nothing."""
        shown = self.median(row.key, theirs)
        found = self.ratios((row.key, ours), (row.key, theirs)) if shown and round(shown, row.digits) else []
        return statistics.median(found) if found else None
