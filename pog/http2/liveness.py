"""Checks one connection from time to time: probes for a peer that is silent, and the round trip. When to probe is
decided in keepalive.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pog.http2.keepalive import Keepalive, Verdict

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from pog.http2.config import SessionConfig
    from pog.http2.connection import Connection

# The longest and the shortest time between two checks, seconds.
_LONGEST_PAUSE = 10.0
_SHORTEST_PAUSE = 0.05
# A piece of input of this size, in bytes, is worth a measurement of the round trip.
_WORTH_A_PROBE = 16 * 1024


class Liveness:
    """`clock` gives the time in seconds. `on_check` gets it at every check; `on_dead` gets the reason when the peer is
    taken for gone."""

    def __init__(
        self,
        connection: Connection,
        config: SessionConfig,
        loop: asyncio.AbstractEventLoop,
        clock: Callable[[], float],
        *,
        on_check: Callable[[float], None],
        on_dead: Callable[[str], None],
    ) -> None:
        self._connection = connection
        self._config = config
        self._loop = loop
        self._clock = clock
        self._on_check = on_check
        self._on_dead = on_dead
        self._began = clock()
        self._keepalive = Keepalive(config.keepalive, config.keepalive_timeout, self._began)
        self._probes = 0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def rtt(self) -> float | None:
        """The shortest round trip measured lately, in seconds."""
        return self._keepalive.rtt

    def start(self) -> None:
        """Begins to check; to be called again when the next check may have come nearer."""
        self.stop()
        pause = _LONGEST_PAUSE
        if self._config.keepalive > 0:
            pause = min(pause, max(_SHORTEST_PAUSE, self._keepalive.next_check(self._clock())))
        self._timer = self._loop.call_later(pause, self.check)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def received(self, now: float) -> None:
        """Anything came from the peer."""
        self._keepalive.received_at = now

    def handled(self, size: int, now: float) -> None:
        """A piece of input of `size` bytes has been handled: a large one is the time to measure the round trip."""
        if size >= _WORTH_A_PROBE and self._connection.data_came_since_ping and self._keepalive.wants_rtt(now):
            self.probe()

    def stream_opened(self) -> None:
        """On a connection that was silent for long, the peer is asked first whether it is still there."""
        if self._keepalive.silent(self._clock()) and not self._keepalive.waiting:
            self.probe()
            self.start()

    def probe(self) -> bytes:
        """Asks the peer for a sign of life; `answered` gets the token that is returned here."""
        self._probes += 1
        token = self._probes.to_bytes(8, "big")
        self._connection.probe(token)
        self._keepalive.probed(self._clock())
        return token

    def answered(self, token: bytes, now: float) -> None:
        """The peer has answered a probe."""
        if token == self._probes.to_bytes(8, "big"):
            self._keepalive.answered(now)
            self._connection.rtt = self._keepalive.rtt

    def settings_acknowledged(self, now: float) -> None:
        """The first round trip there is: our SETTINGS and their acknowledgement."""
        if self._keepalive.rtt is None:
            self._keepalive.measured(now - self._began, now)
            self._connection.rtt = self._keepalive.rtt

    def check(self) -> None:
        """Does what is due by now; the timer calls it from time to time."""
        now = self._clock()
        verdict = self._keepalive.check(now, in_use=self._connection.active > 0)
        if verdict is Verdict.DEAD:
            self._on_dead(f"no answer to a probe within {self._config.keepalive_timeout:g} s")
            return
        if verdict is Verdict.PROBE:
            self.probe()
        self._on_check(now)
        if self._timer is not None:  # not stopped meanwhile
            self.start()
