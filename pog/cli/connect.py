"""`pog connect`: one tunnel on standard input and output."""

from __future__ import annotations

import os

import click

from pog.cli.group import remembered
from pog.cli.options import examples, only_variables, quiet, quiet_environ, rows, takes
from pog.config.client import load_client
from pog.config.client_settings import ClientSettings
from pog.errors import SettingsError
from pog.net.address import Destination, parse_destination

# What is about a port of the client, and those who use it.
OF_THE_PORT = (
    "listen",
    "tls_cert",
    "tls_key",
    "fast_open",
    "via_header",
    "auth",
    "auth_file",
    "mux_server_metrics",
    "pages_hosts",
    "head_timeout",
    "max_tunnels",
    "metric_namespace",
    "access_log",
    "log_ends",
    "grpc_builtin_metrics",
    "drain_timeout",
)
# Only what ends it is said.
LEVEL = "error"
CONNECT_ROWS = quiet(rows(ClientSettings, *OF_THE_PORT), LEVEL)


@click.command(
    short_help="Join standard input and output to a tunnel.",
    epilog=only_variables(CONNECT_ROWS)
    + examples(
        "pog connect --server-addr pog.example.com:443 git.example.com:22",
        "ssh -o ProxyCommand='pog connect --server-addr pog.example.com:443 %h:%p' user@host.example.com",
    ),
)
@takes(CONNECT_ROWS)
@click.argument("destination", metavar="HOST:PORT")
def connect(destination: str, **flags: object) -> None:
    """Join standard input and output to a tunnel to HOST:PORT, as ssh's ProxyCommand wants it.

    The end of standard input is passed on, and the destination may still answer. The status is 0 when both sides have
    ended, 1 when there is no tunnel or it breaks off. It speaks to a server itself and needs no running client.
    """
    to = destination_of(destination)
    settings = load_client(quiet_environ(os.environ, LEVEL), flags | {"listen": ()}).settings
    remembered(settings)
    import asyncio

    from pog.client.stdio import connect as run_connect
    from pog.observe.messages import set_up_logging
    from pog.process.run import loop_factory

    set_up_logging(settings.log_level, settings.log_format)
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(run_connect(settings, to))


def destination_of(text: str) -> Destination:
    """IPv6 may come without its brackets: ssh writes %h:%p so. Raises SettingsError."""
    host, _, port = text.rpartition(":")
    try:
        return parse_destination(f"[{host}]:{port}" if ":" in host and "[" not in host else text)
    except ValueError as error:
        raise SettingsError("HOST:PORT", f"{error}, not {text[:80]!r}") from None
