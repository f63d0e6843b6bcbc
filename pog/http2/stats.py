"""What a session counts, for metrics. [pure]"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class Stats:
    """Totals since the session began. Resets and GOAWAYs are counted by error code (RFC 9113 section 7).

    Stalls are waits for the peer's windows, those of a stream and those of the whole connection.
    """

    streams: int = 0
    resets_sent: Counter[int] = field(default_factory=Counter)
    resets_received: Counter[int] = field(default_factory=Counter)
    goaways_sent: Counter[int] = field(default_factory=Counter)
    goaways_received: Counter[int] = field(default_factory=Counter)
    stream_stalls: int = 0
    stream_stall_seconds: float = 0.0
    connection_stalls: int = 0
    connection_stall_seconds: float = 0.0

    def add(self, other: Stats) -> None:
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


@dataclass(frozen=True, slots=True)
class Levels:
    """The state of a session at one moment: streams that wait for their window, and bytes in memory, received and not
    yet taken (`buffered`), and written and not yet sent (`unsent`)."""

    stalled: int
    buffered: int
    unsent: int
