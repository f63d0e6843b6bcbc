"""A server in the test's own event loop: what `pog server` runs, or its services behind another carrier of calls."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from pog import grpctest
from pog.config.server_settings import ServerSettings
from pog.net.address import Address
from pog.net.listen import listening_sockets
from pog.server.app import App
from pog.server.openness import Listening
from pog.server.serve import serve, serve_app
from pog.server.service import Server
from tests.helpers import rpc
from tests.helpers.user import samples

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    import grpc
    from grpclib.const import Handler

# Nothing on loopback takes longer, whatever the load.
SECONDS = 20.0


@dataclass(slots=True)
class Running:
    """`end` asks the server to end; `task` is then over in time."""

    address: tuple[str, int]
    task: asyncio.Task[None]
    end: asyncio.Event = field(default_factory=asyncio.Event)


@asynccontextmanager
async def serving(**changes: Any) -> AsyncIterator[Running]:
    """What `pog server` runs, on a free port; `changes` are settings. It must end within the drain and a little."""
    listen = Address("127.0.0.1", 0)
    settings = ServerSettings(**{"listen": listen, "drain_timeout": 0.2, **changes})
    (sock,), end, started = listening_sockets(listen), asyncio.Event(), asyncio.Event()
    task = asyncio.create_task(serve(settings, shutdown=end, started=lambda _: started.set(), sockets=[sock]))
    running = Running(sock.getsockname()[:2], task, end)
    try:
        await started.wait()
        yield running
    finally:
        end.set()
        async with asyncio.timeout(SECONDS):
            await task


# How calls come to the services: by the HTTP/2 engine, through ASGI and Hypercorn's own HTTP/2, by grpclib's server.
CARRIERS = ("engine", "portable", "grpclib")
LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)


@dataclass(slots=True)
class Serving:
    """The services of a server, and a channel of grpcio's, an independent client, to them."""

    server: Server
    channel: grpc.Channel

    def metric(self, name: str, **labels: str) -> float:
        """A series of the page of metrics; 0 where there is none."""
        pairs = ",".join(f'{label}="{value}"' for label, value in sorted(labels.items()))
        page = samples(self.server.metrics.render()[0].decode())
        return page.get(f"{name}{{{pairs}}}" if pairs else name, 0.0)


@asynccontextmanager
async def services(carrier: str, **changes: Any) -> AsyncIterator[Serving]:
    """Serves until the block ends; `changes` are settings. Destinations may be on loopback."""
    settings = ServerSettings(**{"egress_allow": LOOPBACK, "drain_timeout": 0.2, **changes})
    if carrier == "grpclib":
        server = Server(settings, on_loopback())
        try:
            async with grpctest.serve(Everything(server)) as sc:
                with rpc.channel(str(sc.address)) as channel:
                    yield Serving(server, channel)
        finally:
            server.close()
        return
    app = App(replace(settings, engine="cut-through" if carrier == "engine" else carrier))
    sockets, end = listening_sockets(Address("127.0.0.1", 0)), asyncio.Event()
    task = asyncio.create_task(serve_app(app, sockets, end), name="server")
    try:
        with rpc.channel("{}:{}".format(*sockets[0].getsockname())) as channel:
            yield Serving(app.server, channel)
    finally:
        end.set()
        async with asyncio.timeout(SECONDS):
            await task
        for sock in sockets:
            sock.close()


def on_loopback() -> Listening:
    """For a server that Hypercorn does not run."""
    listening = Listening()
    with socket.create_server(("127.0.0.1", 0)) as sock:
        listening.add(sock)
    return listening


async def until(condition: Callable[[], object]) -> None:
    """Waits for what has no event."""
    async with asyncio.timeout(SECONDS):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.001)


class Everything:
    """All services of a server as one."""

    def __init__(self, server: Server) -> None:
        self._core = server

    def __mapping__(self) -> dict[str, Handler]:
        return self._core.mapping


@asynccontextmanager
async def destination(
    talk: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[str]:
    """A destination on a free port, by its host:port."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(OSError, EOFError):
                await talk(reader, writer)
        finally:
            writer.close()

    listener = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield "{}:{}".format(*listener.sockets[0].getsockname())
    finally:
        listener.close()
        await listener.wait_closed()
