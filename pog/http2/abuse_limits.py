"""Limits on what costs work and carries nothing. [pure]

Each kind is a bucket of tokens that refills with time. The amounts are far above what well-behaved programs need, and
low enough that one peer cannot keep a core busy with them.

A connection may be a front's, and carry tunnels of people who did nothing wrong. So what needs a new stream each time
is stopped there first: new streams are refused until the bucket has refilled a little, and the open ones go on. The
connection ends for floods that need no stream, and for a peer that goes on regardless for seconds.
"""

from __future__ import annotations

import enum

from h2.exceptions import DenialOfServiceError


class Abuse(enum.IntEnum):
    """What is counted."""

    # A request that was reset before it was answered, or that made us reset it when it was at work: work without a
    # result (CVE-2023-44487, CVE-2025-8671).
    RAPID_RESET = 0
    # Header fields that were decoded, and new streams.
    FIELDS = 1
    # PING, PRIORITY, unknown frames, empty DATA and the like (CVE-2019-9512, 9518).
    CHATTER = 2
    # Frames on streams that the peer itself has closed: each is answered with a reset.
    STRAY = 3
    # SETTINGS with values, which may concern every stream (CVE-2019-9515).
    SETTINGS = 4


# (tokens at first, tokens that come back per second). nghttp2 allows a burst of 1000 resets and 33 per second; a busy
# client of ours may give up many tunnels at once, so more come back. A field costs about 5 µs: 40,000 are a fifth of a
# core. grpc-go PINGs once per round trip while data flows, which `AbuseLimits.useful` forgives. SETTINGS change with
# the peer's memory, at most.
_ALLOWED = {
    Abuse.RAPID_RESET: (1000.0, 200.0),
    Abuse.FIELDS: (80_000.0, 40_000.0),
    Abuse.CHATTER: (2000.0, 200.0),
    Abuse.STRAY: (1000.0, 200.0),
    Abuse.SETTINGS: (100.0, 10.0),
}

# These need a new stream each time.
_REFUSED = frozenset({Abuse.RAPID_RESET, Abuse.FIELDS})
# New streams are taken again when this share of the bucket is there, and all is forgotten at the other one.
_TAKEN_AGAIN = 0.1
_FORGOTTEN = 0.5
# A peer that has not calmed down after this time, in seconds, loses the connection.
_PATIENCE = 5.0

# For each piece of content: an enum's member takes longer to find.
_CHATTER, _MOST_CHATTER = int(Abuse.CHATTER), _ALLOWED[Abuse.CHATTER][0]
# What one DATA frame forgives: its answer, if any, and what grpc-go says besides. More would pay for a flood.
_FORGIVEN = 2.0

_CALM_DOWN = {
    Abuse.RAPID_RESET: "too many streams reset before they were answered",
    Abuse.FIELDS: "too many header fields",
    Abuse.CHATTER: "too many frames that carry nothing",
    Abuse.STRAY: "too many frames on closed streams",
    Abuse.SETTINGS: "too many changes of settings",
}


class AbuseLimits:
    """The buckets of one connection. Time is given in seconds.

    `over_since` has the kinds for which new streams are refused, and since when the peer has not calmed down.
    """

    __slots__ = ("_at", "_left", "over_since")

    def __init__(self) -> None:
        self._left = [_ALLOWED[kind][0] for kind in Abuse]
        self._at = [0.0 for _ in Abuse]
        self.over_since: dict[Abuse, float] = {}

    def spend(self, kind: Abuse, now: float, amount: float = 1.0) -> None:
        """Counts one, or `amount`. Raises DenialOfServiceError (ENHANCE_YOUR_CALM) when the connection is to end."""
        left = self._refill(kind, now) - amount
        if left < 0:
            if kind not in _REFUSED:
                raise DenialOfServiceError(_CALM_DOWN[kind])
            self.over_since.setdefault(kind, now)
            left = 0.0
        self._left[kind] = left

    def refuses(self, now: float) -> bool:
        """Whether a new stream is to be refused. Raises DenialOfServiceError when that has been of no use."""
        for kind in [*self.over_since]:
            since = self.over_since[kind]
            if self._refill(kind, now) < _ALLOWED[kind][0] * _TAKEN_AGAIN:
                if now - since > _PATIENCE:
                    raise DenialOfServiceError(_CALM_DOWN[kind])
                return True
        return False

    def _refill(self, kind: Abuse, now: float) -> float:
        most, per_second = _ALLOWED[kind]
        left = self._left[kind] = min(most, self._left[kind] + (now - self._at[kind]) * per_second)
        self._at[kind] = now
        if left >= most * _FORGOTTEN:
            self.over_since.pop(kind, None)
        return left

    def useful(self) -> None:
        """The peer sent a frame of content: the chatter that goes with it is forgiven."""
        left = self._left[_CHATTER] + _FORGIVEN
        self._left[_CHATTER] = left if left < _MOST_CHATTER else _MOST_CHATTER
