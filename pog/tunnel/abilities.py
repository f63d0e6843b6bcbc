"""What a program can beyond the original's protocol, announced in gRPC metadata and used only when both sides did."""

from __future__ import annotations

ABILITIES_KEY = "pog-abilities"
# Beside a refusal: what failed, as an error type of RFC 9209, since HTTP's 502 is one word for three failures.
ERROR_KEY = "pog-error"
HALF_CLOSE = "half-close"
OUR_ABILITIES = HALF_CLOSE


def abilities(value: str | bytes | None) -> frozenset[str]:
    """The abilities in one metadata value; unknown ones are kept, nobody asks for them."""
    if not isinstance(value, str):
        return frozenset()
    return frozenset(name.strip() for name in value.split(","))
