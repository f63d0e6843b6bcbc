"""Takes the connections of the user's programs.

At the limit nothing is accepted any more, new connections wait in the kernel's queue until others end. The limit stays
below the number of descriptors that the process may open, for the event loops have no good answer to a failed accept
(EMFILE): uvloop closes all that wait, asyncio logs a traceback for each try. A burst may pass the limit by what the
kernel held ready, since the loops accept all of that in one go.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
from typing import TYPE_CHECKING, Any

from pog.client.handshakes import Handshakes
from pog.net.listen import BACKLOG

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from pog.client.endpoints import OpenEndpoint
    from pog.client.handshakes import TlsServer
    from pog.config.endpoints import Endpoint

log = logging.getLogger(__name__)

# From 3.13 on a server of asyncio removes the file of its socket when it is closed, and pausing closes it.
_KEEP_THE_FILE: dict[str, Any] = {"cleanup_socket": False} if sys.version_info >= (3, 13) else {}


class Listener:
    """Listening sockets and the count of their connections, whose protocols call `entered` and `left`."""

    def __init__(self, factory: Callable[[], asyncio.Protocol], limit: int, handshake_timeout: float) -> None:
        """`handshake_timeout` is the limit for TLS, in seconds; a connection counts once that is done."""
        self._factory = factory
        self._limit = limit
        self._count = 0
        self._handshake_timeout = handshake_timeout
        self._endpoints: list[OpenEndpoint] = []
        self._handshakes: Handshakes | None = None
        self._servers: list[asyncio.Server | TlsServer] = []
        self._opening: asyncio.Task[None] | None = None

    async def listen(self, endpoints: list[OpenEndpoint], tls: ssl.SSLContext | None = None) -> list[Endpoint]:
        """Starts to accept on what is the listener's from now on. `tls` is for the endpoints that have it."""
        self._endpoints = endpoints
        if tls is not None:
            self._handshakes = Handshakes(self._factory, tls, self._handshake_timeout)
        await self._open()
        return [each.endpoint for each in endpoints]

    async def _open(self) -> None:
        loop = asyncio.get_running_loop()
        for each in self._endpoints:
            # The server owns a duplicate: closing it leaves the socket and the kernel's queue as they are.
            sock = each.socket.dup()
            server: asyncio.Server | TlsServer
            if each.endpoint.tls:
                assert self._handshakes is not None
                server = self._handshakes.serve(sock)
            elif sock.family == socket.AF_UNIX:
                server = await loop.create_unix_server(self._factory, sock=sock, backlog=BACKLOG, **_KEEP_THE_FILE)
            else:
                server = await loop.create_server(self._factory, sock=sock, backlog=BACKLOG)
            self._servers.append(server)

    def entered(self) -> None:
        self._count += 1
        if self._opening is None:
            self._pause_at_limit()

    def _pause_at_limit(self) -> None:
        """All sockets or none: while they open again, one after the other, none is closed."""
        if self._count >= self._limit and self._servers:
            log.warning("%d connections, the limit: new ones wait until others end", self._count)
            self._pause()

    def _pause(self) -> None:
        for server in self._servers:
            server.close()
        self._servers.clear()

    def left(self) -> None:
        """Accepting goes on when an eighth of the room is free again."""
        self._count -= 1
        paused = bool(self._endpoints) and not self._servers and self._opening is None
        if paused and self._count <= self._limit - max(1, self._limit // 8):
            self._opening = asyncio.get_running_loop().create_task(self._reopen(), name="listener-reopen")

    async def _reopen(self) -> None:
        log.info("accepting connections again")
        try:
            await self._open()
        finally:
            self._opening = None
        self._pause_at_limit()

    async def close(self) -> None:
        """Stops accepting; what waits in the kernel's queue is refused."""
        if self._opening is not None:
            await self._opening
        self._pause()
        if self._handshakes is not None:
            await self._handshakes.close()
        for each in self._endpoints:
            each.close()
        self._endpoints.clear()
