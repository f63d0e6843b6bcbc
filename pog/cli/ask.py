"""The commands that ask a program something once: `pog health` and `pog stacks`."""

from __future__ import annotations

import dataclasses
import os
from typing import TYPE_CHECKING, Any, TypeVar

import click

from pog.cli.group import say
from pog.cli.options import examples, rows, seconds, takes
from pog.config.client import single_exit
from pog.config.client_settings import ClientSettings
from pog.config.endpoints import ENDPOINTS, Endpoint
from pog.config.parsers import LOGIN, SERVER
from pog.config.settings import load
from pog.config.via import chosen
from pog.errors import SettingsError
from pog.net.address import Address

if TYPE_CHECKING:
    from collections.abc import Callable

    from pog.config.exits import ServerExit

    F = TypeVar("F", bound=Callable[..., Any])

# How every command reaches a server; and the variables that may say it.
_PROBE_KEYS = ("server_host", "insecure", "skip_verify", "via", "ca_file", "server_fingerprint")
PROBE_ROWS = [row for row in rows(ClientSettings) if row.key in _PROBE_KEYS]
PROBE_VARIABLES = {"CLIENT_POG_AUTH", *(row.env for row in PROBE_ROWS)}


def probes(command: F) -> F:
    """Gives a command what it needs to ask a server something once."""
    for decorate in (
        click.option("--limit", type=seconds, default="5", show_default=True, help="Seconds that it may take in all."),
        click.option("--auth", metavar=LOGIN.metavar, help="Credentials for the server.  [CLIENT_POG_AUTH]"),
        takes(PROBE_ROWS),
        click.argument("addr", metavar=SERVER.metavar),
    ):
        command = decorate(command)
    return command


def server_exit(flags: dict[str, object | None], addr: str, auth: str | None) -> ServerExit:
    """How to reach the server at `addr`, as a client would."""
    environ = {name: value for name, value in os.environ.items() if name in PROBE_VARIABLES}
    if auth is not None:
        environ["CLIENT_POG_AUTH"] = auth
    try:
        settings = load(ClientSettings, environ, flags | {"server_addr": addr})
        if not isinstance(settings.server_addr, Address):
            raise SettingsError("--server-addr", f"must be {SERVER.form}, not {addr!r}")
        exit = single_exit(settings, settings.server_addr)
        return dataclasses.replace(exit, via=chosen(exit.via, exit.server, (), os.environ)[0])
    except SettingsError as error:
        said = {"--server-addr": SERVER.metavar} | ({} if auth is None else {"CLIENT_POG_AUTH": "--auth"})
        raise SettingsError(said.get(error.name, error.name), error.problem) from None


def client_endpoint(addr: str) -> Endpoint:
    """Where a client listens; without a host that is this machine."""
    try:
        (endpoint,) = ENDPOINTS.parse(addr)
    except ValueError:
        raise SettingsError("HOST:PORT", f"must be {ENDPOINTS.form}, and only one, not {addr!r}") from None
    at = endpoint.at
    if isinstance(at, Address) and at.host in ("", "0.0.0.0", "::"):
        at = Address("localhost", at.port)
    return Endpoint(at, endpoint.tls)


@click.command(
    short_help="Ask a server or a client whether it is well.",
    epilog=examples(
        "pog health pog.example.com:443",
        "pog health --insecure 127.0.0.1:8080",
        "pog health --client 127.0.0.1:18080",
    ),
)
@click.option("--client", is_flag=True, help="ADDR is that of a client: [HOST]:PORT, unix:/PATH or https://HOST:PORT.")
@click.option("--service", default="", help="One of the server's services, such as HTTPProxy; else the server.")
@probes
def health(addr: str, client: bool, service: str, limit: float, auth: str | None, **flags: object) -> None:
    """Ask a server or a client whether it is well: status 0 when it is, otherwise 1.

    Of a server, grpc.health.v1 is asked, which needs no credentials; without that, the health check of the original,
    which may. A client is well when its exit is connected.
    """
    import asyncio

    if client:
        from pog.client.readiness import readiness

        verify = not server_exit(flags, "localhost:1", auth).skip_verify
        ready, text = asyncio.run(readiness(client_endpoint(addr), verify=verify, limit=limit))
        say(text)
        raise SystemExit(0 if ready else 1)
    from pog.client.probe import SERVING
    from pog.client.probe import health as ask

    status = asyncio.run(ask(server_exit(flags, addr, auth), service, limit))
    say(status)
    raise SystemExit(0 if status == SERVING else 1)


@click.command(
    short_help="Print what each task of a server waits for.",
    epilog=examples(
        "CLIENT_POG_AUTH=laptop:PASSWORD pog stacks pog.example.com:443", "pog stacks --insecure 127.0.0.1:8080"
    ),
)
@probes
def stacks(addr: str, limit: float, auth: str | None, **flags: object) -> None:
    """Print the stacks of all tasks and threads of a server: where each one is, or waits."""
    import asyncio

    from pog.client.probe import stacks as ask

    say(asyncio.run(ask(server_exit(flags, addr, auth), limit)))
