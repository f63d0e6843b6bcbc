"""Limits on what costs us and carries nothing: a peer that goes beyond them loses the connection.

Each kind is a bucket of tokens that refills with time. The amounts are far above what well-behaved programs need, and
low enough that one peer cannot keep a core busy with them.
"""

from __future__ import annotations

import enum

from h2.exceptions import DenialOfServiceError


class Abuse(enum.IntEnum):
    """What is counted."""

    # A request that was reset before it was answered, or that made us reset it: work without a result (CVE-2023-44487,
    # CVE-2025-8671).
    RAPID_RESET = 0
    # PING, PRIORITY, unknown frames, empty DATA and the like (CVE-2019-9512, 9518).
    CHATTER = 1
    # Frames on streams that the peer itself has closed: each is answered with a reset.
    STRAY = 2
    # SETTINGS with values, which may concern every stream (CVE-2019-9515).
    SETTINGS = 3


# (tokens at first, tokens that come back per second). nghttp2 allows a burst of 1000 resets and 33 per second; a busy
# client of ours may give up many tunnels at once, so more come back. grpc-go PINGs once per round trip while data
# flows, which `AbuseLimits.useful` forgives. SETTINGS change with the peer's memory, at most.
_ALLOWED = {
    Abuse.RAPID_RESET: (1000.0, 200.0),
    Abuse.CHATTER: (2000.0, 200.0),
    Abuse.STRAY: (1000.0, 200.0),
    Abuse.SETTINGS: (100.0, 10.0),
}

# For each piece of content: an enum's member takes longer to find.
_CHATTER, _MOST_CHATTER = int(Abuse.CHATTER), _ALLOWED[Abuse.CHATTER][0]
# What one DATA frame forgives: its answer, if any, and what grpc-go says besides. More would pay for a flood.
_FORGIVEN = 2.0

_CALM_DOWN = {
    Abuse.RAPID_RESET: "too many streams reset before they were answered",
    Abuse.CHATTER: "too many frames that carry nothing",
    Abuse.STRAY: "too many frames on closed streams",
    Abuse.SETTINGS: "too many changes of settings",
}


class AbuseLimits:
    """The buckets of one connection. Time is given in seconds."""

    __slots__ = ("_at", "_left")

    def __init__(self) -> None:
        self._left = [_ALLOWED[kind][0] for kind in Abuse]
        self._at = [0.0 for _ in Abuse]

    def spend(self, kind: Abuse, now: float) -> None:
        """Counts one. Raises DenialOfServiceError (ENHANCE_YOUR_CALM) when there were too many."""
        most, per_second = _ALLOWED[kind]
        left = min(most, self._left[kind] + (now - self._at[kind]) * per_second) - 1
        self._at[kind] = now
        self._left[kind] = left
        if left < 0:
            raise DenialOfServiceError(_CALM_DOWN[kind])

    def useful(self) -> None:
        """The peer sent a frame of content: the chatter that goes with it is forgiven."""
        left = self._left[_CHATTER] + _FORGIVEN
        self._left[_CHATTER] = left if left < _MOST_CHATTER else _MOST_CHATTER
