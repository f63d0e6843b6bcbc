"""The servers that services run in: grpclib's own, and pog's app on Hypercorn."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import grpclib.server

from pog.grpctest.front import END, LOOPBACK
from pog.grpctest.leftovers import Live
from pog.grpctest.memory import join
from pog.grpctest.watched import Watched
from pog.net.address import Address
from pog.net.listen import listening_sockets

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Context

    from pog.grpctest.mapping import Mapping

    Factory = Callable[[], asyncio.Protocol]


class GrpclibServer:
    """grpclib's server, reached by a protocol for each connection; who listens is another's concern."""

    def __init__(self, mapping: Mapping, context: Context) -> None:
        self._server = grpclib.server.Server([mapping])
        self._context = context
        self._live = Live()

    def protocol(self) -> asyncio.Protocol:
        """The server's side of a new connection."""
        # As grpclib.testing does: there is no public way to serve a connection that grpclib has not accepted itself.
        return Watched(self._server._protocol_factory(), self._live, "a connection of the server")

    async def connect(self, factory: Factory) -> object:
        """A connection in memory."""
        return join(factory(), self.protocol(), self._context)

    async def stop(self) -> None:
        """Cancels the calls."""
        for watched in self._live:
            watched.inner.handler.close()

    async def close(self) -> list[str]:
        """Closes the connections; gives the names of those that stay."""
        for watched in self._live:
            watched.transport.close()
        if await self._live.gone(END / 5):
            for watched in self._live:
                watched.transport.abort()
        return await self._live.gone(END)


class AppServer:
    """The app on Hypercorn, on a free port, through the code that `pog server` runs."""

    def __init__(self, mapping: Mapping, port: int) -> None:
        from pog.grpctest.app import ServiceApp
        from pog.server.serve import serve_app

        self._ending = asyncio.Event()
        (sock,) = listening_sockets(Address(LOOPBACK, port))
        self.address = Address(LOOPBACK, sock.getsockname()[1])
        self._task = asyncio.create_task(serve_app(ServiceApp(mapping), [sock], self._ending), name="grpctest app")
        self._task.add_done_callback(lambda _: sock.close())

    async def connect(self, factory: Factory) -> object:
        return await asyncio.get_running_loop().create_connection(factory, self.address.host, self.address.port)

    async def stop(self) -> None:
        self._ending.set()

    async def close(self) -> list[str]:
        if self._task.done() and not self._task.cancelled():
            self._task.result()
        return []
