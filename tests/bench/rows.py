"""Rows of the report: one figure each, and the floor that pog's figure has to reach, where there is one."""

import enum
from dataclasses import dataclass


class Bound(enum.Enum):
    AT_LEAST = "≥"
    AT_MOST = "≤"


@dataclass(frozen=True, slots=True)
class Floor:
    """A bound for pog's figure; with `of_yardstick`, for its ratio to the yardstick's figure."""

    bound: Bound
    value: float
    of_yardstick: bool = False

    def reached(self, value: float) -> bool:
        return value >= self.value if self.bound is Bound.AT_LEAST else value <= self.value


def at_least(value: float) -> Floor:
    return Floor(Bound.AT_LEAST, value)


def at_most(value: float) -> Floor:
    return Floor(Bound.AT_MOST, value)


def share(value: float) -> Floor:
    return Floor(Bound.AT_LEAST, value, of_yardstick=True)


@dataclass(frozen=True, slots=True)
class Row:
    """`key` is the figure's name in the samples; `digits` are those behind the decimal point."""

    key: str
    title: str
    digits: int = 0
    floor: Floor | None = None
