"""A client's and a server's transport, joined, with faults on the way."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, cast

from pog.grpctest.tamper import Tamper

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pog.grpctest.faults import Faults
    from pog.grpctest.leftovers import Live

    Connect = Callable[[Callable[[], asyncio.Protocol]], Awaitable[object]]

# SO_LINGER on, 0 seconds: close() sends RST (man 7 socket).
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Link:
    """One connection. `client` and `server` are the protocols that face them; `connect` reaches the server. What is
    there of it is in `live`: both ends, and the task that connects."""

    def __init__(self, faults: Faults, connect: Connect, live: Live) -> None:
        self.client = End(self, self._up, self._client_made)
        self.server = End(self, self._down, self._server_made)
        self.ended = False
        self._faults = faults
        self._connect = connect
        self._live = live
        self._loop = asyncio.get_running_loop()
        self._tamper = Tamper(faults.window, faults.max_concurrent_streams)
        self._way_up = _Way(faults, self._loop)
        self._way_down = _Way(faults, self._loop)
        self._left = faults.reset_after
        self._dial: asyncio.Task[None] | None = None
        # What the client said before the server was there: uvloop delivers some of it in spite of pause_reading.
        self._early: list[bytes] = []

    def soon(self, action: Callable[..., None], *arguments: object) -> None:
        """Does it now, or in the loop's thread where this is another one."""
        try:
            here = asyncio.get_running_loop() is self._loop
        except RuntimeError:
            here = False
        if here:
            action(*arguments)
        elif not self._loop.is_closed():
            self._loop.call_soon_threadsafe(action, *arguments)

    def go_away(self, code: int, last_stream: int | None) -> None:
        self._way_down.put(partial(self._write_down, self._tamper.go_away(code, last_stream)))

    def reset(self) -> None:
        """Ends both connections at once; the client's with a reset."""
        self._end()
        transport = self.client.transport
        if transport is not None:
            sock: socket.socket | None = transport.get_extra_info("socket")
            if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            transport.abort()
        if self.server.transport is not None:
            self.server.transport.abort()

    def _client_made(self) -> None:
        assert self.client.transport is not None
        self._live.add(self.client, "a connection of a client")
        self.client.transport.pause_reading()
        self._faults._connected(self)
        self._dial = self._loop.create_task(self._reach_server(), name="grpctest dial")
        self._live.add(self._dial, "a connection that is being made")
        self._dial.add_done_callback(self._live.remove)

    async def _reach_server(self) -> None:
        try:
            await self._connect(lambda: self.server)
        except OSError:
            self.reset()

    def _server_made(self) -> None:
        self._live.add(self.server, "a connection to the server")
        if self.ended or self.client.transport is None:
            assert self.server.transport is not None
            self.server.transport.abort()
        else:
            self.client.transport.resume_reading()  # before the early bytes, which may pause it again
            early, self._early = self._early, []
            for data in early:
                self._up(data)

    def _up(self, data: bytes) -> None:
        if self.server.transport is None:
            self._early.append(data)
            return
        self._way_up.put(partial(self._write, self.server, self._tamper.up(data)))

    def _down(self, data: bytes) -> None:
        self._way_down.put(partial(self._write_down, self._tamper.down(data)))

    def _write_down(self, data: bytes) -> None:
        if self._left is None or len(data) < self._left:
            self._left = self._left and self._left - len(data)
            self._write(self.client, data)
        elif not self.ended:
            self._write(self.client, data[: self._left])
            self.reset()

    def _write(self, end: End, data: bytes) -> None:
        if data and end.transport is not None:
            end.transport.write(data)

    def lost(self, end: End) -> None:
        """One side is gone: so is the other, after what is on its way."""
        self._live.remove(end)
        other, way = (self.server, self._way_up) if end is self.client else (self.client, self._way_down)
        if self.ended or other.transport is None:
            self._end()
        else:
            way.put(partial(self._close, other))

    def _close(self, end: End) -> None:
        self._end()
        if end.transport is not None:
            end.transport.close()

    def _end(self) -> None:
        self.ended = True
        self._faults._links.discard(self)
        self._way_up.clear()
        self._way_down.clear()
        if self._dial is not None and self.server.transport is None:
            self._dial.cancel()

    def other(self, end: End) -> End:
        return self.server if end is self.client else self.client


class End(asyncio.Protocol):
    """One side of a link."""

    def __init__(self, link: Link, take: Callable[[bytes], None], made: Callable[[], None]) -> None:
        self.transport: asyncio.Transport | None = None
        self.link = link
        self._take = take
        self._made = made

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not checked: uvloop's transports are none of asyncio's classes.
        self.transport = cast("asyncio.Transport", transport)
        self._made()

    def data_received(self, data: bytes) -> None:
        self._take(data)

    def pause_writing(self) -> None:
        if (transport := self.link.other(self).transport) is not None:
            transport.pause_reading()

    def resume_writing(self) -> None:
        if (transport := self.link.other(self).transport) is not None and not transport.is_closing():
            transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        self.link.lost(self)


class _Way:
    """One direction: things happen in order, each `latency` after it was put here."""

    def __init__(self, faults: Faults, loop: asyncio.AbstractEventLoop) -> None:
        self._faults = faults
        self._loop = loop
        self._queue: deque[tuple[float, Callable[[], None]]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def put(self, action: Callable[[], None]) -> None:
        if not self._queue and self._faults.latency <= 0:
            action()
            return
        due = self._loop.time() + self._faults.latency
        self._queue.append((max(due, self._queue[-1][0]) if self._queue else due, action))
        self._wait()

    def _wait(self) -> None:
        if self._queue and self._timer is None:
            self._timer = self._loop.call_at(self._queue[0][0], self._run)

    def _run(self) -> None:
        self._timer = None
        while self._queue and self._queue[0][0] <= self._loop.time():
            self._queue.popleft()[1]()
        self._wait()

    def clear(self) -> None:
        self._queue.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
