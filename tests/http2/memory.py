"""Two sessions back to back in memory, and the small parts that their tests need."""

from __future__ import annotations

import asyncio
import time
from contextvars import copy_context
from typing import TYPE_CHECKING

from pog.grpctest.memory import MemoryTransport
from pog.http2.session import Session
from pog.http2.windows import Budget

if TYPE_CHECKING:
    from collections.abc import Callable

    from pog.errors import TunnelError
    from pog.http2.config import SessionConfig
    from pog.http2.stream import Stream


class Wire(MemoryTransport):
    """Counts what is written to it, one for each call. While it is blocked, the network takes nothing."""

    written = 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert data, "nothing was written"
        self.written += 1
        super().write(data)

    @property
    def full(self) -> bool:
        """Whether the writer has been told to pause."""
        return self.get_write_buffer_size() > self.get_write_buffer_limits()[1]

    def block(self) -> None:
        self.peer.pause_reading()

    def unblock(self) -> None:
        self.peer.resume_reading()


class Recorder(asyncio.Protocol):
    """A peer that says nothing and keeps what comes."""

    def __init__(self) -> None:
        self.data = b""

    def data_received(self, data: bytes) -> None:
        self.data += data


def connect(client: asyncio.Protocol, server: asyncio.Protocol) -> tuple[Wire, Wire]:
    """The client's and the server's transport."""
    up, down = Wire(client, copy_context()), Wire(server, copy_context())
    up.peer, down.peer = down, up
    client.connection_made(up)
    server.connection_made(down)
    return up, down


def alone(session: Session) -> tuple[Wire, Recorder]:
    """The session's transport, and the other side, which is played by a test that feeds the session itself."""
    recorder = Recorder()
    return connect(session, recorder)[0], recorder


class Sessions:
    """A client and a server session that talk; requests wait in `requests`, in order."""

    def __init__(self, *, server: SessionConfig | None = None, client: SessionConfig | None = None) -> None:
        self.requests: list[Stream] = []
        self.budget = Budget(1 << 30)
        self.passed = 0.0
        self.client = Session(client=True, config=client, budget=self.budget, clock=self.clock)
        self.server = Session(
            client=False, config=server, on_request=self.requests.append, budget=self.budget, clock=self.clock
        )
        self.up, self.down = connect(self.client, self.server)

    def clock(self) -> float:
        return time.monotonic() + self.passed

    async def pass_time(self, seconds: float) -> None:
        """The clock is later by `seconds`; both ends do what is due by then, and all that follows from it."""
        self.passed += seconds
        for session in (self.client, self.server):
            session._liveness.check()
        await settle()

    async def call(self, headers: list[tuple[str, str]]) -> tuple[Stream, Stream]:
        """A new stream, as both ends see it."""
        known = len(self.requests)
        stream = self.client.open_stream(headers)
        await until(lambda: len(self.requests) > known)
        return stream, self.requests[-1]


class Taker:
    """A consumer that keeps everything, or stops after this number of bytes."""

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
    """Lets the loop run until the condition holds; the runner of the tests limits the time."""
    while not condition():  # noqa: ASYNC110  # what is waited for has no event, by design of the tests
        await asyncio.sleep(0)


async def settle(passes: int = 50) -> None:
    """Lets everything happen that can happen without time."""
    for _ in range(passes):
        await asyncio.sleep(0)
