"""The client's life: listen, connect, serve, drain."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from pog.auth.check import Authenticator
from pog.auth.reload import reload_auth
from pog.client.connections import Connections
from pog.client.exits.grpc import GrpcExit
from pog.client.exits.kinds import make_exit
from pog.client.pages import Pages
from pog.observe.accesslog import AccessLog
from pog.observe.metrics import Metrics
from pog.observe.tunnels import TunnelObserver
from pog.process.memory import tune_memory
from pog.tunnel.live import Tunnels

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from pog.config.settings import ClientSettings
    from pog.net.address import Address

log = logging.getLogger(__name__)


async def run(settings: ClientSettings, *, shutdown: asyncio.Event, started: Callable[[list[Address]], None]) -> None:
    """Serves until `shutdown` is set, then lets tunnels end for drain_timeout. Raises OSError when it cannot listen.

    `started` gets the addresses that it listens on. Nothing is left behind: no task, no socket, no thread.
    """
    tune_memory()
    tunnels = Tunnels()
    metrics = Metrics("client", settings, tunnels)
    exit = make_exit(settings.exit, settings, metrics)
    access_log = AccessLog(
        settings.access_log, role="client", style=settings.log_format, on_dropped=metrics.log_dropped.inc
    )
    pages = Pages(metrics, tunnels, exit if settings.mux_server_metrics and isinstance(exit, GrpcExit) else None)
    authenticator = Authenticator(settings.auth_items, "CLIENT_AUTH_", metrics)
    observer = TunnelObserver("client", tunnels, metrics, access_log)
    connections = Connections(settings, exit, pages, authenticator, observer)
    if settings.pog_auth is not None:
        log.info("using client-server auth %s", settings.pog_auth)
    metrics.start()
    forget = reload_auth(settings, authenticator)
    try:
        addresses = await connections.listener.listen(settings.listen)
        exit.start()
        log.info("listening on %s, PID %d, server %s", ", ".join(map(str, addresses)), os.getpid(), exit.name)
        started(addresses)
        await shutdown.wait()
        await connections.listener.close()
        cut = await connections.drain(settings.drain_timeout)
        if cut:
            log.warning("%d connections were cut after %g s", cut, settings.drain_timeout)
    finally:
        await connections.listener.close()
        await connections.drain(0)
        await exit.close()
        forget()
        authenticator.close()
        metrics.close()
