"""Two sessions back to back in memory, and the small parts that their tests need."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from pog.http2.session import Session
from pog.http2.windows import Budget

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from pog.errors import TunnelError
    from pog.http2.config import SessionConfig
    from pog.http2.stream import Stream


class Wire(asyncio.Transport):
    """One direction's end: what is written arrives at the peer's protocol in a later pass of the loop.

    `blocked`: the network takes nothing; what is written then waits here, and the writer is told above the mark.
    """

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.get_running_loop()
        self.protocol: asyncio.Protocol | None = None
        self.peer: Wire | None = None
        self.waiting: list[bytes] = []
        self.blocked = False
        self.full = False
        self.high = 64 * 1024
        self.closing = False
        self.written = 0
        self.scheduled = False
        self.reading = True

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True
        if self.peer is not None:
            self.peer._schedule()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.high = high if high is not None else self.high

    def get_write_buffer_size(self) -> int:
        return sum(map(len, self.waiting))

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert data, "nothing was written"
        if self.closing:
            return
        self.written += 1
        self.waiting.append(bytes(data))
        if self.blocked and not self.full and self.get_write_buffer_size() > self.high:
            self.full = True
            assert self.protocol is not None
            self.protocol.pause_writing()
        self._schedule()

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        self.write(b"".join(list_of_data))

    def _schedule(self) -> None:
        if not self.scheduled and not self.blocked:
            self.scheduled = True
            self.loop.call_soon(self._deliver)

    def _deliver(self) -> None:
        self.scheduled = False
        if self.blocked or (self.peer is not None and not self.peer.reading):
            return
        data, self.waiting = b"".join(self.waiting), []
        if data and self.peer is not None and self.peer.protocol is not None:
            self.peer.protocol.data_received(data)
        if self.full:
            self.full = False
            assert self.protocol is not None
            self.protocol.resume_writing()

    def unblock(self) -> None:
        self.blocked = False
        self._schedule()

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        if not self.closing:
            self.closing = True
            self.loop.call_soon(self._close)

    def _close(self) -> None:
        if self.peer is not None:
            self.peer.reading = True
        self._deliver()
        self._lose(None)
        if self.peer is not None:
            self.peer._lose(None)

    def abort(self) -> None:
        if not self.closing:
            self.closing = True
            self.waiting = []
            self.loop.call_soon(self._lose, None)
            if self.peer is not None:
                self.loop.call_soon(self.peer._lose, ConnectionResetError("reset by peer"))

    def _lose(self, error: Exception | None) -> None:
        protocol, self.protocol = self.protocol, None
        self.closing = True
        if protocol is not None:
            protocol.connection_lost(error)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("192.0.2.1", 1234) if name == "peername" else default


def connect(client: asyncio.Protocol, server: asyncio.Protocol) -> tuple[Wire, Wire]:
    """The client's and the server's transport."""
    up, down = Wire(), Wire()
    up.peer, down.peer = down, up
    up.protocol, down.protocol = client, server
    client.connection_made(up)
    server.connection_made(down)
    return up, down


class Sessions:
    """A client and a server session that talk; requests wait in `requests`, in order."""

    def __init__(self, *, server: SessionConfig | None = None, client: SessionConfig | None = None) -> None:
        self.requests: list[Stream] = []
        self.budget = Budget(1 << 30)
        self.client = Session(client=True, config=client, budget=self.budget)
        self.server = Session(client=False, config=server, on_request=self.requests.append, budget=self.budget)
        self.up, self.down = connect(self.client, self.server)

    async def call(self, headers: list[tuple[str, str]]) -> tuple[Stream, Stream]:
        """A new stream, as both ends see it."""
        known = len(self.requests)
        stream = self.client.open_stream(headers)
        await until(lambda: len(self.requests) > known)
        return stream, self.requests[-1]


class Taker:
    """A consumer that keeps everything, or stops after so many bytes."""

    def __init__(self, stream: Stream, stop_after: int | None = None) -> None:
        self.stream = stream
        self.stop_after = stop_after
        self.data = b""
        self.calls: list[str] = []
        self.error: TunnelError | None = None
        stream.attach(self)

    def data_received(self, data: bytes | memoryview) -> None:
        self.data += bytes(data)
        if self.stop_after is not None and len(self.data) >= self.stop_after:
            self.stream.pause_reading()

    def go_on(self) -> None:
        self.stop_after = None
        self.stream.resume_reading()

    def ended(self) -> None:
        self.calls.append("ended")

    def lost(self, error: TunnelError) -> None:
        self.calls.append("lost")
        self.error = error

    def pause_writing(self) -> None:
        self.calls.append("pause")

    def resume_writing(self) -> None:
        self.calls.append("resume")


async def until(condition: Callable[[], bool]) -> None:
    """Lets the loop run until the condition holds; `run` limits the time."""
    while not condition():  # noqa: ASYNC110  # what is waited for has no event, by design of the tests
        await asyncio.sleep(0)


async def settle(passes: int = 50) -> None:
    """Lets everything happen that can happen without time."""
    for _ in range(passes):
        await asyncio.sleep(0)


def run(test: Callable[[], Awaitable[None]]) -> None:
    """Runs an asynchronous test; an exception that the loop caught fails it."""
    caught: list[dict[str, Any]] = []

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: caught.append(context))
        async with asyncio.timeout(30):
            await test()

    asyncio.run(main())
    assert caught == []
