"""Watches one connection over time: probes for a peer that is silent, the round trip, and a look at everything now and
then. When to probe is decided in keepalive.py."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from pog.http2.keepalive import Keepalive, Verdict

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from pog.http2.config import SessionConfig
    from pog.http2.connection import Connection

# Looked at so often, seconds; never more often than the second number.
_LOOK_EVERY = 10.0
_LOOK_AT_MOST = 0.05
# A piece of input of this size is worth a measurement of the round trip.
_WORTH_A_PROBE = 16 * 1024


class Liveness:
    """`on_look` is called at every look with the time; `on_dead` with the reason, when the peer is taken for gone."""

    def __init__(
        self,
        connection: Connection,
        config: SessionConfig,
        loop: asyncio.AbstractEventLoop,
        on_look: Callable[[float], None],
        on_dead: Callable[[str], None],
    ) -> None:
        self._connection = connection
        self._config = config
        self._loop = loop
        self._on_look = on_look
        self._on_dead = on_dead
        self._began = time.monotonic()
        self._keepalive = Keepalive(config.keepalive, config.keepalive_timeout, self._began)
        self._probes = 0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def rtt(self) -> float | None:
        """The shortest round trip measured lately, in seconds."""
        return self._keepalive.rtt

    def start(self) -> None:
        """Looks from now on; also when the next look may have come nearer."""
        self.stop()
        delay = _LOOK_EVERY
        if self._config.keepalive > 0:
            delay = min(delay, max(_LOOK_AT_MOST, self._keepalive.next_look(time.monotonic())))
        self._timer = self._loop.call_later(delay, self._look)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def received(self, now: float) -> None:
        """Anything came from the peer."""
        self._keepalive.received(now)

    def took_in(self, size: int, now: float) -> None:
        """A piece of input, in bytes, has been worked up: a large one is the time to measure the round trip."""
        if size >= _WORTH_A_PROBE and self._connection.data_came_since_ping and self._keepalive.wants_rtt(now):
            self.probe()

    def used(self, now: float) -> None:
        """A stream was opened: on a connection that was silent for long, better ask first whether anybody is there."""
        if self._keepalive.silent(now) and not self._keepalive.waiting:
            self.probe()
            self.start()

    def probe(self) -> bytes:
        """Asks the peer for a sign of life; `answered` gets the token that is returned here."""
        self._probes += 1
        token = self._probes.to_bytes(8, "big")
        self._connection.probe(token)
        self._keepalive.probed(time.monotonic())
        return token

    def answered(self, token: bytes, now: float) -> None:
        """The peer has answered a probe."""
        if token == self._probes.to_bytes(8, "big"):
            self._keepalive.answered(now)
            self._tell_rtt()

    def settings_acknowledged(self, now: float) -> None:
        """The first round trip there is: our SETTINGS and their acknowledgement."""
        if self._keepalive.rtt is None:
            self._keepalive.measured(now - self._began, now)
            self._tell_rtt()

    def _tell_rtt(self) -> None:
        if self._keepalive.rtt is not None:
            self._connection.rtt = self._keepalive.rtt

    def _look(self) -> None:
        now = time.monotonic()
        verdict = self._keepalive.look(now, in_use=bool(self._connection.machine.streams))
        if verdict is Verdict.DEAD:
            self._on_dead(f"no answer to a probe within {self._config.keepalive_timeout:g} s")
            return
        if verdict is Verdict.PROBE:
            self.probe()
        self._on_look(now)
        if self._timer is not None:  # not stopped meanwhile
            self.start()
