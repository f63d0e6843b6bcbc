"""Values of HTTP header fields that both programs read or write: Accept, and challenges."""

from __future__ import annotations

import re
from typing import NamedTuple

# Members of a list and parameters of a member end at a comma and a semicolon, but not within a quoted string (5.6.4).
_MEMBER = re.compile(r'(?:"(?:[^"\\]|\\.)*"?|[^",])+')
_PART = re.compile(r'(?:"(?:[^"\\]|\\.)*"?|[^";])+')
# 12.4.2; what is no weight counts as none given.
_WEIGHT = re.compile(r"0(?:\.[0-9]*)?|1(?:\.0*)?")


class Accepted(NamedTuple):
    """How welcome a media type is: from 0, not at all, to 1; and whether it was named, rather than meant by a `*`."""

    weight: float
    named: bool


def accepted(accept: str, media_type: str, version: str = "") -> Accepted:
    """What an Accept field (RFC 9110 12.5.1) says of `media_type`, in lower case.

    Several lines of the field are to be joined by commas first. The most specific range counts. One that names another
    version than `version` does not match. An empty field accepts everything alike, as a missing one does.
    """
    best, found = -1, Accepted(0.0, False)
    for member in _MEMBER.findall(accept.strip() or "*/*"):
        parts = [part.strip(" \t") for part in _PART.findall(member)] or [""]
        precision = _precision(parts[0].lower(), media_type)
        if precision < 0:
            continue
        weight = 1.0
        for parameter in parts[1:]:
            name, _, value = parameter.partition("=")
            if name.lower() == "q" and _WEIGHT.fullmatch(value):
                weight = float(value)
            elif name.lower() == "version":
                precision = precision + 1 if value.strip('"') == version else -1
                if precision < 0:
                    break
        if precision > best or (precision == best and weight > found.weight):
            best, found = precision, Accepted(weight, precision >= _NAMED)
    return found


# How precisely a range names a media type; a version that fits makes it one more.
_ANY, _SUBTYPES, _NAMED = 0, 2, 4


def _precision(media_range: str, media_type: str) -> int:
    if media_range == media_type:
        return _NAMED
    if media_range == media_type.partition("/")[0] + "/*":
        return _SUBTYPES
    return _ANY if media_range == "*/*" else -1


def basic_challenge(realm: str) -> str:
    """The value of a field that asks for Basic credentials. Without a charset Java sends Latin-1 (RFC 7617 2.1)."""
    return f'Basic realm="{realm}", charset="UTF-8"'
