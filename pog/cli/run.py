"""`pog run -- CMD`: a command whose connections go through a client of its own."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from pog.cli.group import fail, remembered
from pog.cli.options import examples, only_variables, quiet, quiet_environ, rows, takes
from pog.cli.variables import proxy_url, proxy_variables
from pog.config.client import load_client
from pog.config.client_settings import ClientSettings
from pog.config.endpoints import Endpoint
from pog.config.exits import Login
from pog.errors import SettingsError
from pog.net.address import Address

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pog.process.child import Child, HeldSignals

# Where it listens, for whom, and what it prints is the command's affair.
_DECIDED = (
    "listen",
    "tls_cert",
    "tls_key",
    "auth",
    "auth_file",
    "access_log",
    "log_ends",
    "drain_timeout",
    "pages_hosts",
)
_LEVEL = "warning"
RUN_ROWS = quiet(
    rows(ClientSettings, *_DECIDED, "mux_server_metrics", "metric_namespace", "grpc_builtin_metrics"), _LEVEL
)

# As env(1) and shells have it.
_NOT_FOUND, _NOT_STARTED = 127, 126
# The command's login is checked once, and cannot be guessed: 4 is the least cost of bcrypt. Seconds.
_LEAST_COST = 4
_TEN_YEARS = 10 * 365 * 86400.0


@click.command(
    short_help="Run a command that goes through a server.",
    context_settings={"allow_interspersed_args": False},
    epilog=only_variables(RUN_ROWS)
    + examples(
        "pog run --server-addr pog.example.com:443 -- curl https://example.com/",
        "SERVER_ADDR=pog.example.com:443 pog run terraform init",
        "pog run --server-addr pog.example.com:443 -- bash",
    ),
)
@takes(RUN_ROWS)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="[--] CMD...")
def run(command: tuple[str, ...], **flags: object) -> None:
    """Run CMD with a client of its own, on a free port, for as long as it runs.

    The client is told to CMD by HTTP_PROXY, HTTPS_PROXY and ALL_PROXY, in upper and in lower case, and NO_PROXY exempts
    loopback. Signals are passed on, and the status is that of CMD; 127 when there is no such command.
    """
    from pog.process.child import HeldSignals, can_run, end_as

    if not can_run():
        raise SettingsError("run", "needs a system with POSIX signals")
    settings = load_client(quiet_environ(os.environ, _LEVEL), flags).settings
    settings, login = of_the_command(settings)
    remembered(settings)
    from pog.observe.messages import set_up_logging

    set_up_logging(settings.log_level, settings.log_format)
    end_as(run_beside(settings, login, command, HeldSignals()))


def of_the_command(settings: ClientSettings) -> tuple[ClientSettings, str]:
    """The settings of its client, and what stands before the proxy's address: where a client is to ask for credentials,
    the command gets some of its own."""
    free = (Endpoint(Address("127.0.0.1", 0)),)
    settings = replace(
        settings, listen=free, tls_cert="", tls_key="", auth_file=None, access_log=False, drain_timeout=0.0
    )
    if not settings.auth_items:
        return settings, ""
    import secrets

    from pog.config.auth_items import new_item, parse_item

    login = Login("pog", secrets.token_urlsafe(18))
    item = parse_item(new_item(login.user, login.password, _TEN_YEARS, cost=_LEAST_COST))
    return replace(settings, auth=(item,)), f"{login.user}:{login.password}@"


def run_beside(settings: ClientSettings, login: str, command: Sequence[str], signals: HeldSignals) -> int:
    """Runs the client and, once it listens, the command; gives how that ended (Child.code)."""
    import asyncio

    from pog.client.app import run as run_client
    from pog.process.run import loop_factory, raise_descriptor_limit

    child: Child | None = None
    problem: OSError | None = None

    async def main() -> None:
        loop, shutdown = asyncio.get_running_loop(), asyncio.Event()

        def started(endpoints: list[Endpoint]) -> None:
            nonlocal child, problem
            environ = {**os.environ, **proxy_variables(proxy_url(endpoints[0], login), os.environ)}
            try:
                child = signals.start(command, environ, lambda: loop.call_soon_threadsafe(shutdown.set))
            except OSError as error:
                problem = error
                shutdown.set()

        await run_client(settings, shutdown=shutdown, started=started)

    raise_descriptor_limit()
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(main())
    if problem is not None:
        missing = isinstance(problem, FileNotFoundError)
        fail(f"{command[0]}: {problem.strerror}", _NOT_FOUND if missing else _NOT_STARTED)
    assert child is not None and child.code is not None
    return child.code
