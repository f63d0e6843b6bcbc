"""How a worker of Hypercorn listens, so that its end is the same on every version of Python.

Hypercorn awaits wait_closed of its servers, and applies graceful_timeout to what is open afterwards. That was written
for Python up to 3.11, where wait_closed returned at once, as uvloop's does on every version. From 3.12.1 on asyncio's
waits for the last connection, without a limit: 60 s for a client that never begins its TLS handshake.
"""

from __future__ import annotations

import asyncio
from typing import Any


class WorkerAsyncio:
    """Stands for the module asyncio in hypercorn.asyncio.run: as it is, but for what start_server returns."""

    def __getattr__(self, name: str) -> Any:
        return getattr(asyncio, name)

    async def start_server(self, *arguments: Any, **options: Any) -> Listener:
        return Listener(await asyncio.start_server(*arguments, **options))


class Listener:
    """A server whose end waits for no connection."""

    def __init__(self, server: asyncio.Server) -> None:
        self.close = server.close

    async def wait_closed(self) -> None:
        """Returns at once."""
