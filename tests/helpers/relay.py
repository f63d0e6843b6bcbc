"""Tunnels that move nothing, for what counts tunnels."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from pog.observe.accesslog import AccessLog
from pog.observe.metrics import Metrics
from pog.observe.tunnels import TunnelObserver
from pog.tunnel.ended import State
from pog.tunnel.live import TunnelRecord, Tunnels

if TYPE_CHECKING:
    from pog.config.settings import CommonSettings
    from pog.observe.endings import Role
    from pog.tunnel.ended import Ended
    from pog.tunnel.relay import Relay


class FakeRelay:
    """As much of a relay as is counted."""

    def __init__(self, from_local: int = 0, from_tunnel: int = 0) -> None:
        self.from_local = from_local
        self.from_tunnel = from_tunnel
        self.state = State.OPEN
        self.ended: Ended | None = None
        self.first_byte: float | None = None

    @property
    def relay(self) -> Relay:
        """It, as a relay."""
        return cast("Relay", self)


class Counted:
    """The metrics of one program, and tunnels to count."""

    def __init__(self, role: Role, settings: CommonSettings) -> None:
        self.tunnels = Tunnels()
        self.metrics = Metrics(role, settings, self.tunnels)
        self.observer = TunnelObserver(role, self.tunnels, self.metrics, AccessLog(False))

    def open(self, relay: FakeRelay | None = None) -> TunnelRecord:
        record = TunnelRecord("127.0.0.1:1")
        self.observer.requested(record)
        self.observer.opened(record, (relay or FakeRelay()).relay)
        return record
