"""The exit that is this machine: it dials the destination from here."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from pog.errors import Failure, FailureKind, Refused
from pog.net.dial import Dialler
from pog.net.egress import MetadataPolicy
from pog.net.resolve import Resolver
from pog.tunnel.relay import reset
from pog.tunnel.request import Tunnel

if TYPE_CHECKING:
    from collections.abc import Callable

    from pog.net.dial import Dialled
    from pog.tunnel.request import TunnelRequest

log = logging.getLogger(__name__)


class DirectExit:
    """`name` is the exit's in logs, `timeout` the limit of a dial in seconds.

    Private and loopback addresses are the point of it: the one who asks could connect to them without a proxy. Cloud
    metadata is refused all the same, since a client may run where its users do not.
    """

    def __init__(self, name: str, timeout: float) -> None:
        self.name = name
        self._dialler = Dialler(MetadataPolicy(), timeout, Resolver(), "client")

    @property
    def problem(self) -> str:
        """It is always there."""
        return ""

    @property
    def down(self) -> bool:
        return False

    def start(self) -> None:
        """There is nothing to connect to in advance."""

    async def close(self) -> None:
        """Attempts are cancelled by those who made them."""

    def open(self, request: TunnelRequest, done: Callable[[Tunnel | Failure], None]) -> DirectAttempt:
        """Begins to dial."""
        return DirectAttempt(self._open(request, done))

    async def _open(self, request: TunnelRequest, done: Callable[[Tunnel | Failure], None]) -> None:
        result: Tunnel | Failure
        try:
            result = Tunnel(DialledTransport(await self._dialler.dial(request.destination)), self.name)
        except Refused as refused:
            result = refused.failure
        except Exception as error:
            log.exception("a destination could not be dialled")
            result = Failure(FailureKind.INTERNAL, f"internal error: {type(error).__name__}")
        done(result)


class DirectAttempt:
    """A dial under way."""

    def __init__(self, dialling: Any) -> None:
        self._task = asyncio.get_running_loop().create_task(dialling, name="dial directly")

    def cancel(self) -> None:
        self._task.cancel()


class DialledTransport(asyncio.Transport):
    """A socket's transport as a tunnel. What the destination said before there was a relay comes first."""

    def __init__(self, dialled: Dialled) -> None:
        super().__init__()
        self._dialled = dialled
        self._socket = dialled.transport
        # The relay calls it for every chunk.
        self.write = self._socket.write  # type: ignore[method-assign]
        self._paused = self._begun = False

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        assert isinstance(protocol, asyncio.Protocol)
        self._socket.set_protocol(protocol)
        if self._begun:
            return  # perhaps within the first call, which goes on
        self._begun = True
        early, self._dialled.early = self._dialled.early, b""
        if early:
            protocol.data_received(early)
        if self._dialled.ended:
            protocol.eof_received()
        if self._dialled.lost is not None:
            protocol.connection_lost(self._dialled.lost)
        elif not (self._paused or self._dialled.ended or self._socket.is_closing()):
            self._socket.resume_reading()

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._socket.get_protocol()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._socket.get_extra_info(name, default)

    def pause_reading(self) -> None:
        self._paused = True
        self._socket.pause_reading()

    def resume_reading(self) -> None:
        self._paused = False
        self._socket.resume_reading()

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self._socket.write_eof()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._socket.set_write_buffer_limits(high, low)

    def get_write_buffer_size(self) -> int:
        return self._socket.get_write_buffer_size()

    def is_closing(self) -> bool:
        return self._socket.is_closing()

    def close(self) -> None:
        self._socket.close()

    def abort(self) -> None:
        """The destination learns that something broke: it gets a reset."""
        reset(self._socket)
