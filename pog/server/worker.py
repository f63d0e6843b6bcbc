"""How a worker of Hypercorn listens: its end is the same on every version of Python, and it is known where.

Hypercorn awaits wait_closed of its servers, and applies graceful_timeout to what is open afterwards. That was written
for Python up to 3.11, where wait_closed returned at once, as uvloop's does on every version. From 3.12.1 on asyncio's
waits for the last connection, without a limit: 60 s for a client that never begins its TLS handshake.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from pog.server.openness import Listening


class WorkerAsyncio:
    """Stands for the module asyncio in hypercorn.asyncio.run: as it is, but for what start_server returns, and that
    `listening` gets to know the sockets."""

    def __init__(self, listening: Listening) -> None:
        self._listening = listening

    def __getattr__(self, name: str) -> Any:
        return getattr(asyncio, name)

    async def start_server(self, *arguments: Any, sock: socket.socket, **options: Any) -> Listener:
        place = self._listening.add(sock)
        try:
            server = await asyncio.start_server(*arguments, sock=sock, **options)
        except BaseException:
            self._listening.remove(place)
            raise
        return Listener(server, lambda: self._listening.remove(place))


class Listener:
    """A server whose end waits for no connection."""

    def __init__(self, server: asyncio.Server, on_close: Callable[[], None]) -> None:
        self._server = server
        self._on_close = on_close

    def close(self) -> None:
        self._server.close()
        self._on_close()

    async def wait_closed(self) -> None:
        """Returns at once."""
