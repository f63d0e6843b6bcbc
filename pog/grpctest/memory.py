"""Two asyncio transports joined in memory, with the flow control and the ends of a TCP connection."""

from __future__ import annotations

import asyncio
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

# As asyncio's own transports.
_HIGH = 64 * 1024
_LOW = 16 * 1024

NOWHERE = ("memory", 0)


def join(client: asyncio.Protocol, server: asyncio.Protocol, server_context: Context) -> MemoryTransport:
    """Connects two protocols and gives the client's transport.

    The server's callbacks run in `server_context`, so that what they start can be told from what the client starts.
    """
    ours = MemoryTransport(client, copy_context())
    theirs = MemoryTransport(server, server_context)
    ours.peer, theirs.peer = theirs, ours
    server_context.run(server.connection_made, theirs)
    client.connection_made(ours)
    return ours


class MemoryTransport(asyncio.Transport):
    """One end. What is written waits here until the other end reads."""

    peer: MemoryTransport

    def __init__(self, protocol: asyncio.Protocol, context: Context) -> None:
        super().__init__()
        self._loop = asyncio.get_running_loop()
        self._protocol = protocol
        self._context = context
        self._unread: list[bytes] = []
        self._size = 0
        self._high, self._low = _HIGH, _LOW
        self._full = False
        self._reading = True
        self._scheduled = False
        self._eof = False
        self._eof_delivered = False
        self._closing = False
        self._lost = False

    # What a protocol calls

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return NOWHERE if name in ("peername", "sockname") else default

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        assert isinstance(protocol, asyncio.Protocol)
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._closing or self._eof or not data:
            return
        self._unread.append(bytes(data))
        self._size += len(data)
        if self._size > self._high and not self._full:
            self._full = True
            self._protocol.pause_writing()
        self._schedule()

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self._eof = True
        self._schedule()

    def close(self) -> None:
        """What was written is delivered first."""
        if not self._closing:
            self._closing = self._eof = True
            self._schedule()

    def abort(self) -> None:
        """Drops what was written; the other end sees a reset."""
        if not self._lost:
            self._lose(None)
            self.peer._lose(ConnectionResetError("reset by the other end, in memory"))

    def is_closing(self) -> bool:
        return self._closing

    def pause_reading(self) -> None:
        self._reading = False

    def resume_reading(self) -> None:
        self._reading = True
        self.peer._schedule()

    def is_reading(self) -> bool:
        return self._reading and not self._closing

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._high = _HIGH if high is None else high
        self._low = self._high // 4 if low is None else low

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self._low, self._high

    def get_write_buffer_size(self) -> int:
        return self._size

    # The way to the other end

    def _schedule(self) -> None:
        if not self._scheduled and not self._lost:
            self._scheduled = True
            self._loop.call_soon(self._deliver, context=self.peer._context)

    def _deliver(self) -> None:
        self._scheduled = False
        peer = self.peer
        if self._lost or not peer._reading:
            return
        if self._unread:
            data = b"".join(self._unread)
            self._unread.clear()
            self._size = 0
            if self._full:
                self._full = False
                self._soon(self._protocol.resume_writing)
            if not peer._closing:
                peer._protocol.data_received(data)
        if self._eof and not self._eof_delivered and not self._unread:
            self._eof_delivered = True
            if not peer._closing and not peer._protocol.eof_received():
                peer.close()
        if self._closing and self._eof_delivered:
            self._lose(None)

    def _lose(self, error: Exception | None) -> None:
        if self._lost:
            return
        self._closing = self._lost = True
        self._unread.clear()
        self._size = 0
        self._soon(self._protocol.connection_lost, error)

    def _soon(self, callback: Callable[..., None], *arguments: Any) -> None:
        self._loop.call_soon(callback, *arguments, context=self._context)
