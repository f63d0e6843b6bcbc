"""A tunnel that moves nothing, for what counts tunnels."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from pog.tunnel.relay import State

if TYPE_CHECKING:
    from pog.tunnel.relay import Ended, Relay


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
