"""What a program can beyond the original's protocol, announced in gRPC metadata and used only when both sides did."""

from __future__ import annotations

ABILITIES_KEY = "pog-abilities"
# Beside a refusal: what failed, as an error type of RFC 9209 (for clients of pog 0.1), and the kind of failure itself,
# since a status of HTTP or a type of RFC 9209 is one word for several.
ERROR_KEY = "pog-error"
FAILURE_KEY = "pog-failure"
HALF_CLOSE = "half-close"
OUR_ABILITIES = HALF_CLOSE


def abilities(value: str | bytes | None) -> frozenset[str]:
    """The abilities in one metadata value; unknown ones are kept, nobody asks for them."""
    if not isinstance(value, str):
        return frozenset()
    return frozenset(name.strip() for name in value.split(","))
