"""The transports in memory behave as TCP's do."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar, copy_context
from typing import cast

from pog.grpctest.memory import MemoryTransport, join
from tests.grpctest.support import ASYNCIO

pytestmark = ASYNCIO


class Recorder(asyncio.Protocol):
    """Notes what is called; `keep`: stays open after the other's end."""

    def __init__(self, keep: bool = False) -> None:
        self.events: list[object] = []
        self.keep = keep
        self.transport: MemoryTransport
        self.gone = asyncio.Event()
        self.where: object = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("MemoryTransport", transport)

    def data_received(self, data: bytes) -> None:
        self.where = PLACE.get(None)
        if self.events and isinstance(self.events[-1], bytes):
            data = self.events.pop() + data  # type: ignore[operator]
        self.events.append(data)

    def eof_received(self) -> bool:
        self.events.append("eof")
        return self.keep

    def pause_writing(self) -> None:
        self.events.append("pause")

    def resume_writing(self) -> None:
        self.events.append("resume")

    def connection_lost(self, exc: Exception | None) -> None:
        self.events.append(type(exc) if exc else "lost")
        self.gone.set()


PLACE: ContextVar[str] = ContextVar("place")


def pair(*, keep: bool = False) -> tuple[Recorder, Recorder]:
    client, server = Recorder(keep), Recorder(keep)
    join(client, server, copy_context())
    return client, server


async def turns(count: int = 10) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_bytes_go_both_ways_in_order() -> None:
    client, server = pair()
    client.transport.write(b"one")
    client.transport.write(bytearray(b"two"))
    client.transport.writelines([b"three", memoryview(b"four")])
    client.transport.write(b"")
    server.transport.write(b"back")
    assert (client.events, server.events) == ([], [])
    await turns()
    assert (client.events, server.events) == ([b"back"], [b"onetwothreefour"])


async def test_callbacks_of_the_server_run_where_it_was_started() -> None:
    context = copy_context()
    context.run(PLACE.set, "server")
    client, server = Recorder(), Recorder()
    join(client, server, context)
    client.transport.write(b"x")
    server.transport.write(b"y")
    await turns()
    assert (server.where, client.where) == ("server", None)


async def test_a_reader_that_pauses_pauses_the_writer() -> None:
    client, server = pair()
    server.transport.pause_reading()
    client.transport.set_write_buffer_limits(10)
    assert client.transport.get_write_buffer_limits() == (2, 10)
    client.transport.write(bytes(10))
    assert client.events == []
    client.transport.write(b"x")
    assert client.events == ["pause"]
    assert client.transport.get_write_buffer_size() == 11
    client.transport.close()
    await turns()
    assert server.events == []
    server.transport.resume_reading()
    await server.gone.wait()
    assert server.events == [bytes(10) + b"x", "eof", "lost"]
    assert client.events[1:] == ["resume", "lost"]


async def test_half_closing() -> None:
    client, server = pair(keep=True)
    client.transport.write(b"all")
    client.transport.write_eof()
    client.transport.write(b"not this")
    await turns()
    assert server.events == [b"all", "eof"]
    server.transport.write(b"answer")
    server.transport.close()
    await client.gone.wait() if not client.keep else await turns()
    assert client.events == [b"answer", "eof"]
    client.transport.close()
    await client.gone.wait()
    await server.gone.wait()


async def test_close_delivers_first_and_abort_drops() -> None:
    client, server = pair()
    client.transport.write(b"last words")
    client.transport.close()
    await client.gone.wait()
    await server.gone.wait()
    assert server.events == [b"last words", "eof", "lost"]
    client, server = pair()
    client.transport.write(b"never")
    client.transport.abort()
    await client.gone.wait()
    await server.gone.wait()
    assert (client.events, server.events) == (["lost"], [ConnectionResetError])
