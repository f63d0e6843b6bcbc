"""Both ends in one process: a server on loopback, and a client that knows nothing but that server."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from pog.config.client import with_server
from pog.net.address import Address

if TYPE_CHECKING:
    from collections.abc import Callable

    from pog.config.client_settings import ClientSettings
    from pog.config.endpoints import Endpoint
    from pog.config.server_settings import ServerSettings

# Any free port; nobody but the client has to know it.
SERVER_LISTEN = Address("127.0.0.1", 0)


async def up(
    server: ServerSettings,
    client: ClientSettings,
    *,
    shutdown: asyncio.Event,
    started: Callable[[Address, list[Endpoint]], None],
) -> None:
    """Serves until `shutdown` is set: the client drains first, then the server, which has nothing left by then.

    `started` gets the server's address and the client's endpoints. When one end fails the other ends too; raises what
    it raised, in an ExceptionGroup.
    """
    from pog.client.app import run
    from pog.server.serve import serve

    stop_server = asyncio.Event()
    listening: asyncio.Future[Address] = asyncio.get_running_loop().create_future()
    async with asyncio.TaskGroup() as tasks:
        # No warning: its port is this process's own secret.
        serving = serve(
            server, shutdown=stop_server, started=lambda addresses: listening.set_result(addresses[0]), warn=False
        )
        tasks.create_task(serving, name="server")
        address = await listening
        await run(
            with_server(client, address), shutdown=shutdown, started=lambda addresses: started(address, addresses)
        )
        stop_server.set()
