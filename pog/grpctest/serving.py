"""Starts services and a client's way to them, and ends both without a trace."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Protocol, TypeVar

from pog.grpctest.channel import WatchedChannel
from pog.grpctest.front import END, LOOPBACK, Links
from pog.grpctest.leftovers import LeftRunning, Live, describe, of_services, owned_context, owned_tasks
from pog.grpctest.mapping import Mapping
from pog.grpctest.memory import NOWHERE, join
from pog.grpctest.servers import AppServer, GrpclibServer
from pog.grpctest.tls import throw_away
from pog.grpctest.transports import MissingExtra, Transport
from pog.net.address import Address

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

    import grpc.aio
    from grpclib.client import Channel

    from pog.grpctest.faults import Faults
    from pog.grpctest.grpcio_server import GrpcioServer
    from pog.grpctest.transports import Service

P = TypeVar("P", bound=asyncio.Protocol)


@asynccontextmanager
async def serve(
    *services: Service, transport: Transport | str = Transport.TCP, faults: Faults | None = None, port: int = 0
) -> AsyncIterator[Serving]:
    """Serves until the block ends; what is open then is cut.

    `transport` says how the client reaches the services, `faults` what goes wrong on the way, and `port` where to
    listen: any free port of 127.0.0.1, or one that a server had before.

    Raises LeftRunning at the end when a call, a connection, or a task that a service has started does not end; those
    tasks are cancelled first. Raises MissingExtra for TLS without trustme, OSError when the port is taken.
    """
    serving = Serving(Transport(transport), faults)
    try:
        await serving._start(Mapping(services, faults), port)
        yield serving
    except BaseException as error:
        for name in await serving._close():
            error.add_note(f"left running: {name}")
        raise
    if left := await serving._close():
        raise LeftRunning(left)


class ServerFactory(Protocol):
    """What the fixture grpc_server is: `serve`, over the transport that the test's marker names."""

    def __call__(
        self,
        *services: Service,
        transport: Transport | str | None = None,
        faults: Faults | None = None,
        port: int = 0,
    ) -> AbstractAsyncContextManager[Serving]: ...


class Serving:
    """Services that are served, and the client's way to them."""

    channel: Channel
    """grpclib's channel for the generated stubs. It connects at the first call."""

    def __init__(self, transport: Transport, faults: Faults | None) -> None:
        self.transport = transport
        self.faults = faults
        self._certificate = throw_away() if transport is Transport.TLS else None
        self._loop = asyncio.get_running_loop()
        self._context = owned_context(self)
        self._live = Live()
        self._address: Address | None = None
        self._server: GrpclibServer | AppServer | GrpcioServer | None = None
        self._links: Links | None = None
        self._listener: asyncio.Server | None = None
        self._accept: Callable[[], asyncio.Protocol] | None = None
        self._grpcio_channels: list[grpc.aio.Channel] = []

    @property
    def address(self) -> Address:
        """Where the services are served: `host`, `port`, and as text host:port. LookupError in memory."""
        if self._address is None:
            raise LookupError("services in memory have no address")
        return self._address

    @property
    def client_tls(self) -> ssl.SSLContext | None:
        """What a client needs to trust the server; None without TLS."""
        return self._certificate.client if self._certificate else None

    @property
    def ca_pem(self) -> bytes | None:
        """The certificate of the authority that signed the server's, in PEM; None without TLS."""
        return self._certificate.ca_pem if self._certificate else None

    async def connect(self, factory: Callable[[], P]) -> tuple[asyncio.BaseTransport, P]:
        """One more connection, for a client of any kind: as loop.create_connection, over the same transport."""
        if self._address is None:
            protocol = factory()
            assert self._accept is not None
            return join(protocol, self._accept(), self._context), protocol
        host, port, tls = self._address.host, self._address.port, self.client_tls
        name = host if tls else None
        return await self._loop.create_connection(factory, host, port, ssl=tls, server_hostname=name)

    def grpcio_channel(self) -> grpc.aio.Channel:
        """A channel of grpcio's, which shares no code with this package; it is closed at the end of the block.

        Raises MissingExtra without grpcio, LookupError in memory.
        """
        target = str(self.address)
        try:
            import grpc.aio
        except ImportError:
            raise MissingExtra("grpcio_channel()", "grpcio") from None
        options = [("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1)]
        if self._certificate is None:
            channel = grpc.aio.insecure_channel(target, options)
        else:
            channel = grpc.aio.secure_channel(target, grpc.ssl_channel_credentials(self._certificate.ca_pem), options)
        self._grpcio_channels.append(channel)
        return channel

    async def _start(self, mapping: Mapping, port: int) -> None:
        listen = self._listen(mapping, port)
        await self._loop.create_task(listen, name="grpctest start", context=self._context)
        host, at = NOWHERE if self._address is None else (self._address.host, self._address.port)
        self.channel = WatchedChannel(host, at, self.client_tls, self.connect, self._live)

    async def _listen(self, mapping: Mapping, port: int) -> None:
        """Everything that is started here, or by what is started here, is owned by this object."""
        if self.transport is Transport.APP:
            self._server = app = AppServer(mapping, 0 if self.faults else port)
            self._address = app.address
        elif self.transport is Transport.GRPCIO:
            self._server = grpcio = _grpcio_server(mapping, 0 if self.faults else port)
            await grpcio.start()
            self._address = grpcio.address
        else:
            self._server = server = GrpclibServer(mapping, self._context)
            self._accept = server.protocol
        if self.faults is not None:
            self._links = Links(self.faults, self._server.connect)
            self._accept = self._links.new
        if self._accept is not None and self.transport is not Transport.MEMORY:
            tls = self._certificate.server if self._certificate else None
            self._listener = await self._loop.create_server(self._accept, LOOPBACK, port, ssl=tls)
            self._address = Address(LOOPBACK, self._listener.sockets[0].getsockname()[1])

    async def _close(self) -> list[str]:
        """Ends everything; gives the names of what does not end."""
        if hasattr(self, "channel"):
            self.channel.close()
        for channel in self._grpcio_channels:
            await channel.close()
        if self._listener is not None:
            self._listener.close()
        left = await self._links.close() if self._links is not None else []
        if self._server is not None:
            await self._server.stop()
            left += await self._end_tasks()
            left += await self._server.close()
        if self._listener is not None and not left:
            await self._listener.wait_closed()
        return left + await self._live.gone(END)

    async def _end_tasks(self) -> list[str]:
        """What a service does not end is cancelled. The server's own tasks end with the service's, or not at all."""
        await self._wait_for_tasks(END)
        tasks = owned_tasks(self, self._loop)
        tasks = of_services(tasks) or tasks
        names = sorted(map(describe, tasks))
        for task in tasks:
            task.cancel()
        await self._wait_for_tasks(END / 5)
        return names

    async def _wait_for_tasks(self, seconds: float) -> None:
        deadline = self._loop.time() + seconds
        while (tasks := owned_tasks(self, self._loop)) and (left := deadline - self._loop.time()) > 0:
            await asyncio.wait(tasks, timeout=left)


def _grpcio_server(mapping: Mapping, port: int) -> GrpcioServer:
    try:
        from pog.grpctest.grpcio_server import GrpcioServer
    except ImportError:
        raise MissingExtra("The transport 'grpcio'", "grpcio") from None
    return GrpcioServer(mapping.__mapping__(), port)
