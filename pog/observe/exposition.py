"""Two pages of metrics as one, in Prometheus's text format (version 0.0.4).

Only one HELP and TYPE may stand for a name, all its series must stand below them, and no series may stand twice. So

1. each page is read into families: the lines of one name, with those that end in _bucket, _sum or _count where the type
   is histogram or summary;
2. every series of the second page gets labels that say where it comes from, which also makes it another than ours;
3. a family that both pages have is written once, ours first; then come those that only the second page has.

The format: prometheus.io/docs/instrumenting/exposition_formats.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    Labels = list[tuple[str, str]]

_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
# The quantifiers take no step back, so that no page takes longer than its length says.
_LABEL = r'[ \t]*+([a-zA-Z_][a-zA-Z0-9_]*+)[ \t]*+=[ \t]*+"((?:[^"\\]|\\.)*+)"[ \t]*+'
_LABELS = re.compile(_LABEL)
_SERIES = re.compile(rf"({_NAME}+)(?:[ \t]*+\{{((?:{_LABEL},)*+(?:{_LABEL})?+[ \t]*+)\}}|(?=[ \t]))")
# As Go's ParseFloat, which the original writes by and Prometheus reads by; then perhaps a time in milliseconds.
_VALUE = re.compile(
    r"[ \t]*+[+-]?(?:[0-9]+\.?[0-9]*(?:e[+-]?[0-9]+)?|\.[0-9]+(?:e[+-]?[0-9]+)?|inf(?:inity)?|nan)(?:[ \t]+-?[0-9]+)?",
    re.IGNORECASE,
)
_COMMENT = re.compile(rf"#[ \t]*(HELP|TYPE)[ \t]+({_NAME})(?:[ \t]+(.*))?")
_TYPES = ("counter", "gauge", "histogram", "summary", "untyped")
_SUFFIXES = {"histogram": ("_bucket", "_sum", "_count"), "summary": ("_sum", "_count")}
# What a label of theirs is called when its name is one of those that we add: as Prometheus does it when it scrapes.
_DISPLACED = "exported_"


@dataclass(slots=True)
class Family:
    """What a page says of one name. `series` holds the text before each value, and the value."""

    name: str
    help: str | None = None
    type: str | None = None
    series: list[tuple[str, str]] = field(default_factory=list)

    @property
    def parts(self) -> tuple[str, ...]:
        """The endings of its series' names, where these differ from the family's."""
        return _SUFFIXES.get(self.type or "", ())

    def lines(self) -> Iterable[str]:
        if self.help is not None:
            yield f"# HELP {self.name} {self.help}"
        if self.type is not None:
            yield f"# TYPE {self.name} {self.type}"
        for before, value in self.series:
            yield f"{before} {value}"


def merged(ours: bytes, theirs: bytes, labels: Mapping[str, str]) -> tuple[bytes, list[str]]:
    """Our page with theirs, each series of which gets `labels`.

    And the names in theirs that had to be left out, for their type does not go with ours. Raises ValueError when theirs
    is no page of metrics.
    """
    page, left_out = _families(ours, {}), []
    for family in _families(theirs, labels).values():
        known = page.setdefault(family.name, family)
        if known is family:
            continue
        if known.parts == family.parts:
            known.series += family.series
        else:
            left_out.append(family.name)
    return "".join(f"{line}\n" for family in page.values() for line in family.lines()).encode(), left_out


def _families(page: bytes, labels: Mapping[str, str]) -> dict[str, Family]:
    found: dict[str, Family] = {}
    seen: set[str] = set()
    for number, line in enumerate(page.decode().split("\n"), 1):
        line = line.strip(" \t\r")
        if line.startswith("#"):
            _comment(found, line)
        elif line:
            name, before, value = _sample(number, line, labels)
            if before not in seen:  # Prometheus would refuse the page for a second one
                seen.add(before)
                _family_of(found, name).series.append((before, value))
    return found


def _comment(found: dict[str, Family], line: str) -> None:
    told = _COMMENT.fullmatch(line)
    if told is None:
        return
    kind, name, text = told.groups("")
    family = found.setdefault(name, Family(name))
    if kind == "HELP":
        family.help = text
    else:
        family.type = text if text in _TYPES else "untyped"


def _sample(number: int, line: str, labels: Mapping[str, str]) -> tuple[str, str, str]:
    """The name of a series, its text before the value, with the labels in order, and its value. Raises ValueError."""
    series = _SERIES.match(line)
    if series is None or not _VALUE.fullmatch(line, series.end()):
        raise ValueError(f"line {number} is none of a page of metrics")
    given: Labels = _LABELS.findall(series[2] or "")
    for added in labels:
        given = [(_displaced(name, given) if name == added else name, value) for name, value in given]
    # A label without a value is none to Prometheus.
    pairs = ",".join(f'{name}="{value}"' for name, value in sorted([*labels.items(), *given]) if value)
    return series[1], f"{series[1]}{{{pairs}}}" if pairs else series[1], line[series.end() :].strip(" \t")


def _displaced(name: str, given: Labels) -> str:
    names = {each for each, _ in given}
    while name in names:
        name = _DISPLACED + name
    return name


def _family_of(found: dict[str, Family], name: str) -> Family:
    if name in found:
        return found[name]
    for base in (name.removesuffix(ending) for ending in ("_bucket", "_sum", "_count")):
        if base in found and name.removeprefix(base) in found[base].parts:
            return found[base]
    return found.setdefault(name, Family(name))
