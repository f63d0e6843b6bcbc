"""How long to wait before the next attempt to reach a server. [pure]"""

from __future__ import annotations

import random
from dataclasses import dataclass, field


@dataclass(slots=True)
class Backoff:
    """Exponential and jittered, after gRPC's connection-backoff.md: 1 s, then 1.6 times more, each ±20 %.

    gRPC's maximum is 120 s. Here it is 20 s: a person waits in front of a browser, and a closed laptop that wakes up
    should not stay without its proxy for minutes. Jitter keeps many clients from coming back in step.
    """

    base: float = 1.0
    multiplier: float = 1.6
    jitter: float = 0.2
    maximum: float = 20.0
    random: random.Random = field(default_factory=random.Random)
    failures: int = 0

    def failed(self) -> float:
        """Counts one failure; gives the seconds until the next attempt."""
        # The bound keeps the power from overflowing after days without a network.
        delay = self.base * self.multiplier ** min(self.failures, 30)
        self.failures += 1
        return min(delay, self.maximum) * self.random.uniform(1 - self.jitter, 1 + self.jitter)

    def succeeded(self) -> None:
        self.failures = 0
