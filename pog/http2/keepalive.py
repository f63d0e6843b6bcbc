"""When to ask whether the peer is still there, and when to give it up. [pure]

Only silence is probed: a connection that received anything lately is alive. The round trip is measured besides, while
content comes in, for the windows to grow by.
"""

from __future__ import annotations

import enum

# The round trip is measured this often while content comes in; seconds.
_RTT_EVERY = 1.0
# A round trip measured under load is too long, so the shortest of this many seconds counts.
_RTT_MEMORY = 30.0


class Verdict(enum.Enum):
    """What to do about a connection now."""

    FINE = "fine"
    PROBE = "probe"
    DEAD = "dead"


class Keepalive:
    """The rules for one connection. All times are seconds on one clock; `interval` 0 switches the probing off.

    `received_at`: when anything last came from the peer.
    """

    __slots__ = ("_asked_at", "_interval", "_probed_at", "_rtt_at", "_timeout", "received_at", "rtt")

    def __init__(self, interval: float, timeout: float, now: float) -> None:
        self._interval = interval
        self._timeout = timeout
        self.received_at = now
        self._probed_at: float | None = None
        self._asked_at = now
        self._rtt_at = now
        self.rtt: float | None = None

    def probed(self, now: float) -> None:
        """A probe was sent."""
        self._probed_at = self._asked_at = now

    @property
    def waiting(self) -> bool:
        """Whether a probe is unanswered."""
        return self._probed_at is not None

    def answered(self, now: float) -> None:
        """The probe was answered."""
        if self._probed_at is not None:
            self.measured(now - self._probed_at, now)
            self._probed_at = None

    def measured(self, rtt: float, now: float) -> None:
        """A round trip took `rtt` seconds."""
        if self.rtt is None or rtt < self.rtt or now - self._rtt_at > _RTT_MEMORY:
            self.rtt = rtt
            self._rtt_at = now

    def wants_rtt(self, now: float) -> bool:
        """Whether it is time to measure the round trip again."""
        return self._probed_at is None and (self.rtt is None or now - self._asked_at > _RTT_EVERY)

    def silent(self, now: float) -> bool:
        """Whether nothing came for the whole interval."""
        return self._interval > 0 and now - self.received_at >= self._interval

    def check(self, now: float, *, in_use: bool) -> Verdict:
        """To be called from time to time, see `next_check`. A connection that is not in use is left alone."""
        if self._interval <= 0:
            return Verdict.FINE
        if self._probed_at is not None:
            silent_since = max(self._probed_at, self.received_at)
            return Verdict.DEAD if now - silent_since >= self._timeout else Verdict.FINE
        return Verdict.PROBE if in_use and self.silent(now) else Verdict.FINE

    def next_check(self, now: float) -> float:
        """Seconds until `check` may return something else than now."""
        if self._probed_at is not None:
            return max(0.0, max(self._probed_at, self.received_at) + self._timeout - now)
        return max(0.0, self.received_at + self._interval - now)
