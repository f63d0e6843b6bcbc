"""When to dial a server again. [pure]

1. A lost connection is dialled again at once the first time, if it had stayed for a while; every failure after another
   waits longer (Backoff).
2. The back-off begins anew only with a connection that stayed for a while: a server that accepts connections and ends
   them, announced or not, is not dialled in a loop.
3. While requests wait, a server that is down is dialled every second, whatever the back-off says.
4. After a failure there is one dial at a time, until one succeeds.
"""

from __future__ import annotations

import math
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


class Redial:
    """The times of the dials to one server, on one monotonic clock. `urgent_interval`: seconds between two dials while
    requests wait."""

    def __init__(self, backoff: Backoff, urgent_interval: float) -> None:
        self._backoff = backoff
        self._urgent_interval = urgent_interval
        self._not_before = -math.inf
        self._last_dial = -math.inf
        self.failing = False  # since the last dial that succeeded

    def due(self, *, urgent: bool) -> float:
        """The time from which on a dial may begin; `urgent` when requests wait."""
        return min(self._not_before, self._last_dial + self._urgent_interval) if urgent else self._not_before

    def began(self, now: float) -> None:
        """A dial, or several at once, begins."""
        self._last_dial = now

    def failed(self, now: float) -> float:
        """Seconds until the next attempt, unless requests wait."""
        self.failing = True
        delay = self._backoff.failed()
        self._not_before = now + delay
        return delay

    def opened(self) -> None:
        """A dial has succeeded, so another may be needed soon and may succeed too."""
        self.failing = False
        self._not_before = -math.inf

    def ended(self, now: float, *, lasted: float, announced: bool) -> None:
        """A connection has ended that was not retired by us. An announced end (GOAWAY) is forgiven once: servers
        restart."""
        if lasted >= self._backoff.maximum:
            self._backoff.succeeded()
            return
        forgiven = announced and not self._backoff.failures
        delay = self._backoff.failed()
        if not forgiven:
            self._not_before = now + delay
