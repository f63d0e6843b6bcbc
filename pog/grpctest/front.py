"""Faults in front of a server that somebody else runs."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from pog.grpctest.leftovers import LeftRunning, Live
from pog.grpctest.link import End, Link
from pog.net.address import Address

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator

    from pog.grpctest.faults import Faults
    from pog.grpctest.link import Connect

LOOPBACK = "127.0.0.1"
# How long the ends of connections may take, seconds; nothing but a callback is waited for.
END = 5.0


class Links:
    """All connections to one server: makes a protocol for each client."""

    def __init__(self, faults: Faults, connect: Connect) -> None:
        self._faults = faults
        self._connect = connect
        self._live = Live()

    def new(self) -> asyncio.Protocol:
        """The protocol for one more client."""
        return Link(self._faults, self._connect, self._live).client

    async def close(self) -> list[str]:
        """Resets all of them; gives the names of those that do not end."""
        for thing in self._live:
            if isinstance(thing, End):
                thing.link.reset()
        return await self._live.gone(END)


@asynccontextmanager
async def front(
    host: str, port: int, faults: Faults, *, tls: ssl.SSLContext | None = None, listen: int = 0
) -> AsyncIterator[Address]:
    """Listens on loopback and leads to `host:port` with `faults` on the way. With `tls` clients speak TLS to it, and it
    speaks cleartext HTTP/2 to the server. What is not HTTP/2 is passed on too."""
    loop = asyncio.get_running_loop()
    links = Links(faults, lambda protocol: loop.create_connection(protocol, host, port))
    listener = await loop.create_server(links.new, LOOPBACK, listen, ssl=tls)
    try:
        yield Address(LOOPBACK, listener.sockets[0].getsockname()[1])
    finally:
        listener.close()
        if left := await links.close():
            raise LeftRunning(left)
        await listener.wait_closed()
