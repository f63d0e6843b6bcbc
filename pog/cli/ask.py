"""The commands that ask a server something once: `pog health` and `pog stacks`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, TypeVar

import click

from pog.cli.group import say
from pog.cli.options import rows, seconds, takes
from pog.config.exits import BuiltIn
from pog.config.parsers import LOGIN, SERVER
from pog.config.settings import ClientSettings, load
from pog.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pog.config.exits import ServerExit

    F = TypeVar("F", bound=Callable[..., Any])

# How a server is reached, whoever asks; and the variables that may say it.
PROBE_ROWS = [row for row in rows(ClientSettings) if row.key in ("server_host", "insecure", "skip_verify")]
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
        exit = load(ClientSettings, environ, flags | {"server_addr": addr}).exit
        if isinstance(exit, BuiltIn):
            raise SettingsError("--server-addr", f"must be {SERVER.form}, not {addr!r}")
        return exit
    except SettingsError as error:
        said = {"--server-addr": SERVER.metavar} | ({} if auth is None else {"CLIENT_POG_AUTH": "--auth"})
        raise SettingsError(said.get(error.name, error.name), error.problem) from None


@click.command()
@click.option("--service", default="", help="One of the server's services, such as HTTPProxy; else the server.")
@probes
def health(addr: str, service: str, limit: float, auth: str | None, **flags: object) -> None:
    """Ask a server whether it is well: status 0 when it says SERVING, otherwise 1.

    It asks grpc.health.v1, which needs no credentials; without that, the health check of the original, which may.
    """
    import asyncio

    from pog.client.probe import SERVING
    from pog.client.probe import health as ask

    status = asyncio.run(ask(server_exit(flags, addr, auth), service, limit))
    say(status)
    raise SystemExit(0 if status == SERVING else 1)


@click.command()
@probes
def stacks(addr: str, limit: float, auth: str | None, **flags: object) -> None:
    """Print the stacks of all tasks and threads of a server: where each one is, or waits."""
    import asyncio

    from pog.client.probe import stacks as ask

    say(asyncio.run(ask(server_exit(flags, addr, auth), limit)))
