"""Destinations on loopback: asyncio servers with one behaviour each, on a thread of their own."""

from __future__ import annotations

import asyncio
import hashlib
import random
import socket
import struct
import threading
from collections.abc import Awaitable, Callable
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import ssl
    from collections.abc import Coroutine, Iterator

T = TypeVar("T")
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

BLOCK = 1 << 20
_NOISE = random.Random(1).randbytes(BLOCK)
# SO_LINGER on, 0 seconds: close() sends RST (man 7 socket).
RESET_ON_CLOSE = struct.pack("ii", 1, 0)
# Not the module's own generator, which a test may seed.
_PORTS = random.SystemRandom()


def blocks(size: int) -> Iterator[bytes]:
    """`size` bytes in which every MiB begins with its own number, so that a swapped or doubled part shows."""
    for number, start in enumerate(range(0, size, BLOCK)):
        yield (number.to_bytes(8, "big") + _NOISE[8:])[: min(BLOCK, size - start)]


def digest(size: int) -> str:
    """SHA-256 of `blocks(size)`."""
    sha = hashlib.sha256()
    for block in blocks(size):
        sha.update(block)
    return sha.hexdigest()


def answer(body: bytes) -> Handler:
    """An HTTP/1.1 origin with one answer, then close."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = f"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        writer.write(head.encode() + body)

    return handle


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Gives back what comes until it ends."""
    while data := await reader.read(BLOCK):
        writer.write(data)
        await writer.drain()


def source(size: int) -> Handler:
    """Sends `blocks(size)`, then closes."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for block in blocks(size):
            writer.write(block)
            await writer.drain()

    return handle


def sink(size: int) -> Handler:
    """Takes `size` bytes, then answers their SHA-256 in hexadecimal."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sha, left = hashlib.sha256(), size
        while left and (data := await reader.read(min(BLOCK, left))):
            sha.update(data)
            left -= len(data)
        writer.write(sha.hexdigest().encode())

    return handle


async def dialogue(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Speaks only after the other side has ended its part: how many bytes came, and their SHA-256."""
    data = await reader.read()
    writer.write(f"{len(data)} {hashlib.sha256(data).hexdigest()}".encode())


async def farewell(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Ends its own part at once with «bye», then reads on to the end."""
    writer.write(b"bye")
    writer.write_eof()
    await silent(reader, writer)


def reset_after(size: int) -> Handler:
    """Takes `size` bytes, then resets the connection."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(size)
        sock: socket.socket = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        writer.transport.abort()

    return handle


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Reads to the end and says nothing."""
    while await reader.read(BLOCK):
        pass


def unused_port() -> int:
    """A port on which nobody listens. It is below those that systems give to others meanwhile, to a client or for
    port 0 (Linux from 32768, macOS from 49152), since another suite may run beside this one."""
    while True:
        port = _PORTS.randrange(20_000, 32_000)
        with socket.socket() as sock, suppress(OSError):
            sock.bind(("", port))
            return port


@contextmanager
def full_backlog() -> Iterator[str]:
    """host:port of a listener that never accepts, its queue full: further SYNs are dropped, as by a silent host."""
    with socket.socket() as listener, socket.socket() as first:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        first.connect(listener.getsockname())
        yield "{}:{}".format(*listener.getsockname())


@dataclass(slots=True)
class Origin:
    """A destination that listens; `live` counts its open connections, `accepted` all that there were."""

    host: str
    port: int
    live: int = 0
    accepted: int = 0

    @property
    def host_port(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Origins:
    """All destinations of a test session, on one event loop in one thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="origins", daemon=True)
        self._thread.start()
        self._servers: list[asyncio.Server] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def call(self, work: Coroutine[object, object, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    def start(self, handler: Handler, *, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> Origin:
        """Listens on a free port; every connection is closed when `handler` returns."""
        origin = Origin(host, 0)

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            self._tasks.add(task)
            origin.live += 1
            origin.accepted += 1
            try:
                with suppress(OSError, EOFError):
                    await handler(reader, writer)
            finally:
                origin.live -= 1
                self._tasks.discard(task)
                writer.close()

        async def listen() -> None:
            server = await asyncio.start_server(handle, host, 0, ssl=tls, limit=BLOCK, backlog=4096)
            self._servers.append(server)
            origin.port = server.sockets[0].getsockname()[1]

        self.call(listen())
        return origin

    def close(self) -> None:
        async def end() -> None:
            for server in self._servers:
                server.close()
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            # One turn for the transports to say connection_lost and to close their sockets.
            await asyncio.sleep(0)

        self.call(end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()
