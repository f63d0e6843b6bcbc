"""Runs the app on Hypercorn."""

from __future__ import annotations

import asyncio
import logging
from contextlib import ExitStack
from typing import TYPE_CHECKING, cast

from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.asyncio.run import worker_serve
from hypercorn.config import Sockets

from pog.net.address import Address
from pog.net.listen import BACKLOG, listening_sockets
from pog.net.renewal import Renewal
from pog.server.app import App
from pog.server.openness import warn_of_openness
from pog.server.service import TRAILERS_TIMEOUT, Server
from pog.server.tls import TlsConfig, certificate_for, say_how_to_pin

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Callable

    from hypercorn.config import Config
    from hypercorn.typing import ASGIFramework

    from pog.config.server_settings import ServerSettings
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

    `sockets` listen already, and are closed in the end. `warn`: this process says what is dangerous, of several workers
    one is enough. Raises OSError when it cannot listen, SettingsError for a certificate that cannot be used.
    """
    with ExitStack() as stack:
        listening = [stack.enter_context(each) for each in sockets or listening_sockets(settings.listens_at)]
        addresses = [Address(*each.getsockname()[:2]) for each in listening]
        certificate = certificate_for(settings)
        tls = certificate.context if certificate is not None else None
        app = App(settings, warn=warn)
        if warn:
            warn_of_openness(settings, addresses)
        if certificate is not None:
            renewal = Renewal(certificate, warns=warn)
            renewal.start()
            stack.callback(renewal.stop)
            if warn:
                say_how_to_pin(settings, certificate)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_drain(app.server, shutdown), name="drain")
            tasks.create_task(serve_app(app, listening, shutdown, tls), name="serve")
            started(addresses)


async def _drain(server: Server, shutdown: asyncio.Event) -> None:
    await shutdown.wait()
    await server.drain()


async def serve_app(
    app: EngineApp, listening: list[socket.socket], shutdown: asyncio.Event, tls: ssl.SSLContext | None = None
) -> None:
    """Runs an app on Hypercorn, on listening sockets, until `shutdown` is set and what is open has ended."""
    config = hypercorn_config(app.drain_timeout, tls)
    secure, insecure = (listening, []) if tls is not None else ([], listening)
    sockets = Sockets(secure_sockets=secure, insecure_sockets=insecure, quic_sockets=[])
    framework = ASGIWrapper(cast("ASGIFramework", app))
    await worker_serve(framework, config, sockets=sockets, shutdown_trigger=shutdown.wait)


def hypercorn_config(drain_timeout: float, tls: ssl.SSLContext | None = None) -> Config:
    """Hypercorn's limits, set so that none of them ends a tunnel before the drain does."""
    config = TlsConfig(tls)
    config.accesslog = None
    config.errorlog = logging.getLogger("hypercorn")
    config.backlog = BACKLOG
    config.include_server_header = False
    config.keep_alive_max_requests = 2**31
    config.h2_max_concurrent_streams = 1000
    config.graceful_timeout = drain_timeout + 2 * TRAILERS_TIMEOUT
    return config
