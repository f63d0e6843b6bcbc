"""The client's life: listen, connect, serve, drain."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from pog.auth.check import Authenticator
from pog.auth.reload import reload_auth
from pog.client.exits.grpc import Exit
from pog.client.pages import Pages
from pog.client.users import Users
from pog.observe.accesslog import AccessLog
from pog.observe.metrics import Metrics
from pog.process.memory import tune_memory

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from pog.config.parsers import Address
    from pog.config.settings import ClientSettings

log = logging.getLogger(__name__)


async def run(settings: ClientSettings, *, shutdown: asyncio.Event, started: Callable[[list[Address]], None]) -> None:
    """Serves until `shutdown` is set, then lets tunnels end for drain_timeout. Raises OSError when it cannot listen.

    `started` gets the addresses that it listens on. Nothing is left behind: no task, no socket, no thread.
    """
    tune_memory()
    metrics = Metrics("client", settings)
    exit = Exit(settings, metrics)
    log_of_tunnels = AccessLog(
        settings.access_log, role="client", style=settings.log_format, on_dropped=metrics.log_dropped.inc
    )
    pages = Pages(metrics, exit if settings.mux_server_metrics else None)
    authenticator = Authenticator(settings.auth_items, "CLIENT_AUTH_", metrics)
    users = Users(settings, exit, pages, authenticator, metrics, log_of_tunnels)
    if settings.pog_auth is not None:
        log.info("using client-server auth %s", settings.pog_auth)
    metrics.start()
    forget = reload_auth(settings, authenticator)
    try:
        addresses = await users.listener.listen(settings.listen)
        exit.start()
        log.info("listening on %s, PID %d, server %s", ", ".join(map(str, addresses)), os.getpid(), exit.name)
        started(addresses)
        await shutdown.wait()
        await users.listener.close()
        cut = await users.drain(settings.drain_timeout)
        if cut:
            log.warning("%d connections were cut after %g s", cut, settings.drain_timeout)
    finally:
        await users.listener.close()
        await users.drain(0)
        await exit.close()
        forget()
        authenticator.close()
        metrics.close()
