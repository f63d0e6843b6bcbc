"""A tunnel that carries plain HTTP: its relay has no socket at the user's end, but the exchanges of one connection.

To the relay it is a transport, so that such a tunnel has its limits of time, its back pressure and its place in the
registry, the metrics and the log as any other.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol

from pog.client.opening import Shared, joined, parted

if TYPE_CHECKING:
    from collections.abc import Callable

    from pog.tunnel.ended import Ended
    from pog.tunnel.live import TunnelRecord
    from pog.tunnel.relay import Relay
    from pog.tunnel.request import Tunnel


class Owner(Protocol):
    """Whose tunnel it is, and where what comes down goes."""

    def tunnel_data(self, upstream: Upstream, data: bytes | memoryview) -> None:
        """The destination sent something."""

    def tunnel_eof(self, upstream: Upstream) -> None:
        """The destination will send no more."""

    def tunnel_full(self, upstream: Upstream) -> None:
        """The tunnel takes no more for now, or does so again: `upstream.full`."""

    def tunnel_ended(self, upstream: Upstream, how: Ended) -> None:
        """It is over."""

    def unsent(self, upstream: Upstream) -> int:
        """Bytes that the user has still to take."""

    def limit_unsent(self, high: int | None) -> None:
        """The user takes no more while it has still to take this number of bytes; None is what is usual."""


class Upstream(asyncio.Transport):
    """The user's end of one tunnel's relay, and the tunnel as its owner sees it."""

    _end: asyncio.Protocol

    def __init__(self, shared: Shared, owner: Owner, record: TunnelRecord, tunnel: Tunnel) -> None:
        super().__init__()
        self._shared = shared
        self._owner = owner
        self._tunnel = tunnel
        self._closing = self._held = self._tunnel_eof = False
        # Instead of the owner, once the tunnel has been handed over.
        self._on_end: Callable[[Ended], None] | None = None
        self.record = record
        # Whether the tunnel takes no more for now.
        self.full = False
        # What happened within this call: a destination may have spoken or ended before it is asked anything.
        self._early: list[Callable[[], None]] | None = []
        self._relay = joined(shared, record, tunnel, self, self._ended)
        self._relay.start()

    # For its owner

    def deliver(self) -> None:
        """The owner has sent its request: what has come down already, and from here on everything at once."""
        while self._early:
            self._early.pop(0)()
        self._early = None

    def send(self, data: bytes) -> None:
        """Goes up."""
        self._end.data_received(data)

    def hold(self, held: bool) -> None:
        """Whether nothing more is to come down for now."""
        if held is not self._held:
            self._held = held
            (self._end.pause_writing if held else self._end.resume_writing)()

    def finish(self) -> None:
        """Nothing is under way in it, and nothing will be."""
        if self._tunnel_eof:
            self._end.eof_received()
        else:
            self.close()

    def give_up(self, reason: str) -> None:
        """Ends it at once; what is under way in it is lost."""
        if not self._closing:
            self._closing = True
            self._end.connection_lost(ConnectionAbortedError(reason))

    def hand_over(
        self, user: asyncio.Transport, on_end: Callable[[Ended], None], *, early: bytes, ended: bool
    ) -> Relay:
        """The user's own connection takes the place of this end; so far it has sent `early`, and perhaps ended."""
        self._on_end = on_end
        self._relay.replace_local(user)
        if early:
            self._end.data_received(early)
        if ended:
            self._end.eof_received()
        return self._relay

    @property
    def received(self) -> int:
        """Bytes that have come down so far."""
        return self._relay.from_tunnel

    # For its relay

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        assert isinstance(protocol, asyncio.Protocol)
        self._end = protocol

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not isinstance(data, bytearray), "a relay passes on what its tunnel delivers"
        if self._early is None:
            self._owner.tunnel_data(self, data)
        else:
            self._early.append(lambda: self._owner.tunnel_data(self, data))

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self._tunnel_eof = True
        if self._early is None:
            self._owner.tunnel_eof(self)
        else:
            self._early.append(lambda: self._owner.tunnel_eof(self))

    def pause_reading(self) -> None:
        self.full = True
        self._owner.tunnel_full(self)

    def resume_reading(self) -> None:
        if self.full:
            self.full = False
            self._owner.tunnel_full(self)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._owner.limit_unsent(high)

    def get_write_buffer_size(self) -> int:
        return self._owner.unsent(self)

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            self._shared.loop.call_soon(self._end.connection_lost, None)

    def abort(self) -> None:
        """The relay, which calls it, tells the end itself."""
        self._closing = True

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def _ended(self, how: Ended) -> None:
        self._closing = True
        parted(self._shared, self.record, self._tunnel, how)
        if self._on_end is not None:
            self._on_end(how)
        elif self._early is None:
            self._owner.tunnel_ended(self, how)
        else:
            self._early.append(lambda: self._owner.tunnel_ended(self, how))
