"""Takes the connections of the user's programs.

At the limit nothing is accepted any more, new connections wait in the kernel's queue until others end. The limit stays
below the number of descriptors that the process may open, for the event loops have no good answer to a failed accept
(EMFILE): uvloop closes all that wait, asyncio logs a traceback for each try. A burst may pass the limit by what the
kernel held ready, since the loops accept all of that in one go.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from pog.net.address import Address
from pog.net.listen import BACKLOG, listening_sockets

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

log = logging.getLogger(__name__)


class Listener:
    """Listening sockets and the count of their connections, whose protocols call `entered` and `left`."""

    def __init__(self, factory: Callable[[], asyncio.Protocol], limit: int) -> None:
        self._factory = factory
        self._limit = limit
        self._count = 0
        self._sockets: list[socket.socket] = []
        self._servers: list[asyncio.Server] = []
        self._opening: asyncio.Task[None] | None = None

    async def listen(self, address: Address) -> list[Address]:
        """Starts to accept; gives the addresses of all its sockets. Raises OSError."""
        self._sockets = listening_sockets(address)
        await self._open()
        return [Address(*sock.getsockname()[:2]) for sock in self._sockets]

    async def _open(self) -> None:
        loop = asyncio.get_running_loop()
        for sock in self._sockets:
            # The server owns a duplicate: closing it leaves the socket and the kernel's queue as they are.
            self._servers.append(await loop.create_server(self._factory, sock=sock.dup(), backlog=BACKLOG))

    def entered(self) -> None:
        self._count += 1
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
        paused = bool(self._sockets) and not self._servers and self._opening is None
        if paused and self._count <= self._limit - max(1, self._limit // 8):
            self._opening = asyncio.get_running_loop().create_task(self._reopen(), name="listener-reopen")

    async def _reopen(self) -> None:
        log.info("accepting connections again")
        try:
            await self._open()
        finally:
            self._opening = None

    async def close(self) -> None:
        """Stops accepting; what waits in the kernel's queue is refused."""
        if self._opening is not None:
            await self._opening
        self._pause()
        for sock in self._sockets:
            sock.close()
        self._sockets.clear()
