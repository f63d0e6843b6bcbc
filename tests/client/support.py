"""What the client's tests share: a tunnel in memory, a user over a real socket."""

from __future__ import annotations

import asyncio
import io
import socket
import struct
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from pog.auth.check import Authenticator
from pog.client.connections import Connections
from pog.client.endpoints import open_endpoints
from pog.client.pages import Pages
from pog.config.client_settings import ClientSettings
from pog.config.endpoints import Endpoint
from pog.errors import Failure, Refused
from pog.net.address import Address, parse_destination
from pog.observe.accesslog import AccessLog
from pog.observe.metrics import Metrics
from pog.observe.tunnels import TunnelObserver
from pog.tunnel.live import Tunnels
from pog.tunnel.request import ANONYMOUS, Tunnel, TunnelRequest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from pog.client.page_answer import Pages as PageSource
    from pog.config.auth_items import AuthItem
    from pog.tunnel.ended import Ended
    from pog.tunnel.request import Exit

# Nothing on loopback takes longer, whatever the load.
SECONDS = 10.0
ANY_PORT = Address("127.0.0.1", 0)
SETTINGS = ClientSettings(server_addr=Address("127.0.0.1", 1), listen=(Endpoint(ANY_PORT),), insecure=True)


class MemoryTunnel(asyncio.Transport):
    """The far side of a tunnel, played by a test: what was written is in `written`, `down` is the protocol to call."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.eof_written = False
        self.ends: list[Ended] = []
        self.closed = False
        self.aborted = False
        self.reading = True
        self.down: asyncio.Protocol
        self._changed = asyncio.Event()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        assert isinstance(protocol, asyncio.Protocol)
        self.down = protocol

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data
        self._changed.set()

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.eof_written = True
        self._changed.set()

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def is_closing(self) -> bool:
        return self.closed or self.aborted

    def get_write_buffer_size(self) -> int:
        return 0

    def close(self) -> None:
        if not self.is_closing():
            self.closed = True
            self._changed.set()
            asyncio.get_running_loop().call_soon(self.down.connection_lost, None)

    def abort(self) -> None:
        self.aborted = True
        self._changed.set()

    async def until(self, *, written: int = 0, eof: bool = False, aborted: bool = False, closed: bool = False) -> None:
        """Waits for all that is asked for."""
        async with asyncio.timeout(SECONDS):
            while (
                len(self.written) < written
                or (eof and not self.eof_written)
                or (aborted and not self.aborted)
                or (closed and not self.closed)
            ):
                self._changed.clear()
                await self._changed.wait()


async def open_tunnel(exit: Exit, host_port: str) -> asyncio.Transport:
    """A tunnel through an exit. Raises Refused."""
    opened: asyncio.Future[Tunnel | Failure] = asyncio.get_running_loop().create_future()
    request = TunnelRequest(parse_destination(host_port), ANONYMOUS, "http", "127.0.0.1:1")
    attempt = exit.open(request, opened.set_result)
    try:
        result = await opened
    except asyncio.CancelledError:
        attempt.cancel()
        raise
    if isinstance(result, Failure):
        raise Refused(result)
    return result.transport


@dataclass(slots=True)
class Asked:
    """One request for a tunnel, to be answered by the test."""

    request: TunnelRequest
    answer: Callable[[Tunnel | Failure], None]
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    # What the user sent before it was answered (fast open).
    early: asyncio.StreamReader = field(default_factory=asyncio.StreamReader)

    def write(self, data: bytes) -> None:
        self.early.feed_data(data)

    def open(self) -> MemoryTunnel:
        tunnel = MemoryTunnel()
        self.answer(Tunnel(tunnel, "west", tunnel.ends.append))
        return tunnel

    def cancel(self) -> None:
        self.cancelled.set()


class FakeExit:
    """An exit whose answers are the test's."""

    def __init__(self) -> None:
        self._asked: asyncio.Queue[Asked] = asyncio.Queue()
        self.bug: Exception | None = None
        # The answer to all requests, within the call.
        self.failure: Failure | None = None
        self.problem = ""

    def open(self, request: TunnelRequest, done: Callable[[Tunnel | Failure], None]) -> Asked:
        if self.bug is not None:
            raise self.bug
        asked = Asked(request, done)
        if self.failure is not None:
            done(self.failure)
        else:
            self._asked.put_nowait(asked)
        return asked

    @property
    def is_waiting(self) -> bool:
        """Whether a tunnel was asked for that the test has not seen yet."""
        return not self._asked.empty()

    async def asked(self) -> Asked:
        """The next request for a tunnel."""
        async with asyncio.timeout(SECONDS):
            return await self._asked.get()


@dataclass(slots=True)
class Front:
    """A client that listens, with a fake exit behind it."""

    connections: Connections
    exit: FakeExit
    metrics: Metrics
    address: Address
    log: io.StringIO

    @property
    def lines(self) -> str:
        """The original's lines of the access log."""
        return "".join(line for line in self.log.getvalue().splitlines(True) if line.startswith("pog: "))

    @property
    def reasons(self) -> list[str]:
        """What the access log says of each refusal."""
        lines = (line for line in self.log.getvalue().splitlines() if line.startswith("pog refused: "))
        return [line.partition("] ")[2] for line in lines]

    def metric(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(name, labels) or 0.0

    async def user(self) -> User:
        return User(*await asyncio.open_connection("127.0.0.1", self.address.port))

    async def tunnel(self, host_port: str = "origin:443") -> tuple[User, MemoryTunnel]:
        """An open tunnel: the user's end and the far end."""
        user = await self.user()
        user.send(connect_head(host_port))
        tunnel = (await self.exit.asked()).open()
        assert await user.head() == b"HTTP/1.1 200 Connection established"
        return user, tunnel

    async def gone(self) -> None:
        """Waits until no connection is left."""
        assert await self.connections.drain(SECONDS) == 0


@asynccontextmanager
async def front(
    *, auth: Sequence[AuthItem] = (), pages: PageSource | None = None, **changes: Any
) -> AsyncIterator[Front]:
    """A listening client; `changes` are settings."""
    settings = replace(SETTINGS, auth=tuple(auth), **changes)
    tunnels, exit, log = Tunnels(), FakeExit(), io.StringIO()
    metrics = Metrics("client", settings, tunnels)
    authenticator = Authenticator(settings.auth, "CLIENT_AUTH_", metrics)
    observer = TunnelObserver("client", tunnels, metrics, AccessLog(True, log, role="client", ends=False))
    ours = pages or Pages(metrics, tunnels, None, exit)
    connections = Connections(settings, exit, ours, authenticator, observer)
    try:
        (endpoint,) = await connections.listener.listen(open_endpoints(settings.listen))
        yield Front(connections, exit, metrics, address_of(endpoint), log)
    finally:
        await connections.listener.close()
        await connections.drain(0)
        authenticator.close()


def address_of(endpoint: Endpoint) -> Address:
    assert isinstance(endpoint.at, Address)
    return endpoint.at


def connect_head(host_port: str, *fields: str) -> bytes:
    return "\r\n".join([f"CONNECT {host_port} HTTP/1.1", f"Host: {host_port}", *fields, "", ""]).encode()


@dataclass(slots=True)
class User:
    """A user's program with one connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    def send_eof(self) -> None:
        self.writer.write_eof()

    def leave(self) -> None:
        self.writer.close()

    def reset(self) -> None:
        """Closes with a TCP reset, as a program does that crashes with unread data."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def head(self) -> bytes:
        """The answer's head, without its end."""
        async with asyncio.timeout(SECONDS):
            return (await self.reader.readuntil(b"\r\n\r\n"))[:-4]

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        """A whole answer up to the end of the connection: status, fields by lower-case names, body."""
        first, *lines = (await self.head()).decode().split("\r\n")
        fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        body = await self.rest()
        self.leave()
        return int(first.split(" ")[1]), fields, body

    async def plain(self, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
        """An answer with its length, behind which the connection goes on."""
        first, *lines = (await self.head()).decode().split("\r\n")
        fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        body = await self.receive(int(fields["content-length"])) if method != "HEAD" else b""
        return int(first.split(" ")[1]), fields, body

    async def rest(self) -> bytes:
        """Everything until the end."""
        async with asyncio.timeout(SECONDS):
            return await self.reader.read()

    async def receive(self, size: int) -> bytes:
        async with asyncio.timeout(SECONDS):
            return await self.reader.readexactly(size)
