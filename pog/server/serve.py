"""Runs the app on Hypercorn."""

from __future__ import annotations

import asyncio
import logging
from contextlib import ExitStack
from typing import TYPE_CHECKING, cast

from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.asyncio.run import worker_serve
from hypercorn.config import Config, Sockets

from pog.net.address import Address
from pog.net.listen import BACKLOG, listening_sockets
from pog.server.app import App
from pog.server.openness import warn_of_openness
from pog.server.service import TRAILERS_TIMEOUT, Server

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from hypercorn.typing import ASGIFramework

    from pog.config.settings import ServerSettings
    from pog.server.dispatch import EngineApp

log = logging.getLogger("pog.server")


async def serve(
    settings: ServerSettings,
    *,
    shutdown: asyncio.Event,
    started: Callable[[list[Address]], None],
    sockets: list[socket.socket] | None = None,
    warn: bool = True,
) -> None:
    """Serves until `shutdown` is set, then drains; `started` gets the real addresses once it accepts connections.

    `sockets` listen already, and are closed in the end. `warn` says whom a server without auth items lets in. Raises
    OSError when it cannot listen.
    """
    with ExitStack() as stack:
        listening = [stack.enter_context(each) for each in sockets or listening_sockets(settings.listens_at)]
        addresses = [Address(*each.getsockname()[:2]) for each in listening]
        app = App(settings)
        if warn:
            warn_of_openness(settings, addresses)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_drain(app.server, shutdown), name="drain")
            tasks.create_task(serve_app(app, listening, shutdown), name="serve")
            started(addresses)


async def _drain(server: Server, shutdown: asyncio.Event) -> None:
    await shutdown.wait()
    await server.drain()


async def serve_app(app: EngineApp, listening: list[socket.socket], shutdown: asyncio.Event) -> None:
    """Runs an app on Hypercorn, on listening sockets, until `shutdown` is set and what is open has ended."""
    config = hypercorn_config(app.drain_timeout)
    sockets = Sockets(secure_sockets=[], insecure_sockets=listening, quic_sockets=[])
    framework = ASGIWrapper(cast("ASGIFramework", app))
    await worker_serve(framework, config, sockets=sockets, shutdown_trigger=shutdown.wait)


def hypercorn_config(drain_timeout: float) -> Config:
    """Hypercorn's limits, set so that none of them ends a tunnel before the drain does."""
    config = Config()
    config.accesslog = None
    config.errorlog = logging.getLogger("hypercorn")
    config.backlog = BACKLOG
    config.include_server_header = False
    config.keep_alive_max_requests = 2**31
    config.h2_max_concurrent_streams = 1000
    config.graceful_timeout = drain_timeout + 2 * TRAILERS_TIMEOUT
    return config
