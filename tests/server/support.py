"""A whole server in the test's own event loop."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pog.config.settings import ServerSettings
from pog.net.address import Address
from pog.net.listen import listening_sockets
from pog.server.serve import serve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

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
