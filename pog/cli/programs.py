"""The commands that serve: `pog server`, `pog client`, and `pog up`, which is both."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

import click

from pog.cli.group import announce, remembered, says
from pog.cli.options import COMMON, examples, only_variables, rows, takes
from pog.cli.variables import proxy_url
from pog.config.client import load_client
from pog.config.client_settings import ClientSettings
from pog.config.endpoints import Endpoint
from pog.config.server_settings import ServerSettings
from pog.config.settings import CommonSettings, load
from pog.net.address import Address

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Coroutine

    from pog.config.client import Loaded

SERVER_ROWS = rows(ServerSettings)
CLIENT_ROWS = rows(ClientSettings)
# What `up` decides itself is left out.
UP_SERVER_ROWS = rows(
    ServerSettings,
    *("listen", "workers", "grpc_and_http_mux", "auth_file", "open_proxy", "tls_cert", "tls_key", "tls_self_signed"),
)
UP_CLIENT_ROWS = rows(
    ClientSettings,
    *(
        "config",
        "server_addr",
        "server_host",
        "insecure",
        "skip_verify",
        "ca_file",
        "fingerprint",
        "via",
        "first_flight",
    ),
)
UP_ROWS = sorted(UP_CLIENT_ROWS + [row for row in UP_SERVER_ROWS if row not in UP_CLIENT_ROWS], key=COMMON.__contains__)

SERVER_EXAMPLES = examples(
    "pog auth new laptop --generate",
    "POG_AUTH_LAPTOP='{\"name\":...}' pog server --port 8080",
    "pog server --listen 127.0.0.1:8080 --workers 4 --auth-file /etc/pog/items",
)
CLIENT_EXAMPLES = examples(
    "CLIENT_POG_AUTH=laptop:PASSWORD pog client --server-addr pog.example.com:443",
    "pog client --server-addr 127.0.0.1:8080 --insecure --listen 127.0.0.1:3128",
    "pog client --server-addr pog.example.com:443 --listen :18080 --listen unix:/run/pog.sock",
)
UP_EXAMPLES = examples("pog up", "pog up --listen 127.0.0.1:3128 --egress-allow 127.0.0.0/8")


@click.command(
    short_help="Serve tunnels: the end with the good address.", epilog=only_variables(SERVER_ROWS) + SERVER_EXAMPLES
)
@takes(SERVER_ROWS)
def server(**flags: object) -> None:
    """Serve tunnels: the end with the good address."""
    settings = remembered(load(ServerSettings, os.environ, flags))

    def started(addresses: list[Address]) -> None:
        says("pog server on")([Endpoint(each, settings.tls) for each in addresses])

    if settings.workers > 1:
        from pog.cli.workers import run as run_workers

        run_workers(settings, started)
        return
    from pog.server.serve import serve

    run_logged(settings, lambda shutdown: serve(settings, shutdown=shutdown, started=started))


@click.command(
    short_help="Be a proxy: the end beside your programs.", epilog=only_variables(CLIENT_ROWS) + CLIENT_EXAMPLES
)
@takes(CLIENT_ROWS)
def client(**flags: object) -> None:
    """Be an HTTP proxy for programs here, and tunnel their connections to a server."""
    loaded = load_client(os.environ, flags)
    settings = remembered(loaded.settings)
    from pog.client.app import run as run_client
    from pog.net.inherited import inherited_sockets

    inherited = inherited_sockets(os.environ, os.getpid())

    def started(endpoints: list[Endpoint]) -> None:
        says("pog client on")(endpoints)
        for note in loaded.notes:
            announce(f"pog: {note}", logging.WARNING)
        warn_if_open(settings, endpoints)

    def load_again() -> Loaded:
        return load_client(os.environ, flags)

    run_logged(
        settings,
        lambda shutdown: run_client(
            settings, shutdown=shutdown, started=started, inherited=inherited, load_again=load_again
        ),
    )


@click.command(short_help="Run both ends here, for a first look.", epilog=only_variables(UP_ROWS) + UP_EXAMPLES)
@takes(UP_ROWS)
def up(**flags: object) -> None:
    """Run both ends here, for a first look: a proxy that goes through gRPC once around this machine."""
    from pog.cli.up import SERVER_LISTEN
    from pog.cli.up import up as run_both

    # The client logs each tunnel; the server would log the same ones.
    decided = {
        "listen": SERVER_LISTEN,
        "grpc_and_http_mux": True,
        "auth_file": None,
        "access_log": False,
        "open": False,
        "tls_cert": "",
        "tls_key": "",
        "tls_self_signed": False,
    }
    ours = load(ServerSettings, os.environ, flags | decided)
    fixed = {
        "config": "",
        "server_addr": SERVER_LISTEN,
        "server_host": "",
        "insecure": True,
        "skip_verify": False,
        "ca_file": "",
        "server_fingerprint": (),
    }
    theirs = remembered(load(ClientSettings, os.environ, flags | fixed))

    def started(server: Address, clients: list[Endpoint]) -> None:
        announce(f"server on {server}", err=False)
        announce(f"proxy {', '.join(map(proxy_url, clients))}", err=False)
        login = f"{theirs.auth_items[0].name}:PASSWORD@" if theirs.auth_items else ""
        if at := next((each for each in clients if isinstance(each.at, Address)), None):
            announce(f"try:  curl -x {proxy_url(at, login)} https://example.com/", err=False)
        warn_if_open(theirs, clients)

    run_logged(theirs, lambda shutdown: run_both(ours, theirs, shutdown=shutdown, started=started))


def warn_if_open(settings: ClientSettings, endpoints: list[Endpoint]) -> None:
    """An open proxy says so loudly; the server does that for itself, however it is started."""
    exposed = ", ".join(str(each) for each in endpoints if not each.at.is_loopback)
    if exposed and not settings.auth_items:
        announce(
            f"OPEN PROXY: no CLIENT_AUTH_* is set and {exposed} is not loopback: anyone who can reach it may use it",
            logging.WARNING,
        )


def run_logged(settings: CommonSettings, program: Callable[[asyncio.Event], Coroutine[object, object, None]]) -> None:
    """Runs a program that tells what it does."""
    from pog.observe.messages import set_up_logging
    from pog.process.run import run

    set_up_logging(settings.log_level, settings.log_format)
    run(program)
