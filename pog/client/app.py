"""The client's life: listen, connect, serve, drain."""

from __future__ import annotations

import logging
import os
import secrets
from typing import TYPE_CHECKING

from pog.auth.check import Authenticator
from pog.auth.expiry import ExpiryWatch
from pog.auth.reload import reload_auth
from pog.client.api import Api
from pog.client.connections import Connections
from pog.client.endpoints import certificate_for, open_endpoints
from pog.client.exits.grpc import GrpcExit
from pog.client.exits.kinds import make_exits
from pog.client.exits.routed import RoutedExit
from pog.client.pages import Pages
from pog.client.reload import reload_exits
from pog.config.exits import ServerExit
from pog.config.original import differences
from pog.net.renewal import Renewal
from pog.observe.accesslog import AccessLog
from pog.observe.metrics import Metrics
from pog.observe.tunnels import TunnelObserver
from pog.process.memory import tune_memory
from pog.process.state import keep_token, state_place
from pog.tunnel.live import Tunnels

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

    from pog.config.client import Loaded
    from pog.config.client_settings import ClientSettings
    from pog.config.endpoints import Endpoint
    from pog.net.inherited import Inherited

log = logging.getLogger(__name__)


async def run(
    settings: ClientSettings,
    *,
    shutdown: asyncio.Event,
    started: Callable[[list[Endpoint]], None],
    inherited: Sequence[Inherited] = (),
    load_again: Callable[[], Loaded] | None = None,
) -> None:
    """Serves until `shutdown` is set, then lets tunnels end for drain_timeout. Raises OSError when it cannot listen.

    `load_again` reads the configuration again; without it exits and rules stay as they are.
    `started` gets the endpoints that it listens on; `inherited` sockets take the place of those of the settings.
    Nothing is left behind: no task, no socket, no thread.
    """
    tune_memory()
    certificate = certificate_for(settings, settings.listen, inherited)
    tunnels = Tunnels()
    metrics = Metrics("client", settings, tunnels)
    exit = make_exits(settings, metrics, tunnels)
    access_log = AccessLog(
        settings.access_log,
        role="client",
        style=settings.log_format,
        ends=settings.log_ends,
        on_dropped=metrics.log_dropped.inc,
    )
    theirs = exit if settings.mux_server_metrics and isinstance(exit, GrpcExit) else None
    api = Api(tunnels, exit, _token(settings.state_dir), guarded=bool(settings.auth_items))
    pages = Pages(metrics, tunnels, theirs, exit, settings.pages_hosts, api)
    authenticator = Authenticator(settings.auth_items, "CLIENT_AUTH_", metrics)
    observer = TunnelObserver("client", tunnels, metrics, access_log)
    connections = Connections(settings, exit, pages, authenticator, observer)
    if settings.pog_auth is not None:
        log.info("using client-server auth %s", settings.pog_auth)
    _warn_of_unverified(settings)
    metrics.start()
    expiry = ExpiryWatch(lambda: authenticator.items, "CLIENT_AUTH_")
    expiry.start()
    forget = [reload_auth(settings, authenticator, expiry.look), expiry.stop]
    if load_again is not None and isinstance(exit, RoutedExit):
        forget.append(reload_exits(settings, exit, load_again, metrics, tunnels))
    if certificate is not None:
        renewal = Renewal(certificate)
        renewal.start()
        forget.append(renewal.stop)
    try:
        opened = open_endpoints(settings.listen, inherited)
        api.guarded = api.guarded or not all(each.endpoint.at.is_loopback for each in opened)
        endpoints = await connections.listener.listen(opened, certificate.context if certificate else None)
        exit.start()
        if differs := differences(settings):
            log.info("unlike the Go original: %s", differs)
        log.info("listening on %s, PID %d, server %s", ", ".join(map(str, endpoints)), os.getpid(), exit.name)
        started(endpoints)
        await shutdown.wait()
        await connections.listener.close()
        cut = await connections.drain(settings.drain_timeout)
        if cut:
            level = logging.WARNING if settings.drain_timeout else logging.INFO  # nobody was to wait for them
            log.log(level, "%d connections were cut after %g s", cut, settings.drain_timeout)
    finally:
        await connections.listener.close()
        await connections.drain(0)
        await exit.close()
        for each in forget:
            each()
        authenticator.close()
        metrics.close()


def _warn_of_unverified(settings: ClientSettings) -> None:
    """A pinned key is looked at all the same."""
    for each in settings.exits:
        if isinstance(each, ServerExit) and each.skip_verify and not each.insecure and not each.fingerprint:
            log.warning(
                "exit %s: SKIP_VERIFY: its certificate is not verified, so anyone on the way can read everything and"
                " take the credentials; SERVER_FINGERPRINT or SERVER_CA_FILE verify an own one",
                each.name,
            )


def _token(named: str) -> str:
    """Of the local interface."""
    place = state_place(named)
    try:
        return keep_token(place)
    except OSError as error:
        log.info("no state is kept: %s: %s", error.filename or place, error.strerror or error)
        return secrets.token_urlsafe(32)
