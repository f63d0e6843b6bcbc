"""What a session counts, for metrics."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class Stats:
    """Totals since the session began. Resets and GOAWAYs are counted by error code (RFC 9113 section 7)."""

    streams: int = 0
    bytes_received: int = 0
    bytes_sent: int = 0
    resets_sent: Counter[int] = field(default_factory=Counter)
    resets_received: Counter[int] = field(default_factory=Counter)
    goaways_sent: Counter[int] = field(default_factory=Counter)
    goaways_received: Counter[int] = field(default_factory=Counter)
