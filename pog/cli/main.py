"""The commands. Their options come from the settings table; what is heavy is imported inside a command."""

from __future__ import annotations

import logging
import os
import re
import shlex
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

import pog
from pog.config.parsers import LOGIN, POSITIVE_SECONDS, SERVER, cleaned, parse_duration
from pog.config.settings import ClientSettings, CommonSettings, ServerSettings, load, table
from pog.errors import PogError, SettingsError
from pog.net.address import Address
from pog.process.output import STDERR, STDOUT
from pog.process.stdio import standard_streams

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Coroutine

    from pog.config.options import Setting

    F = TypeVar("F", bound=Callable[..., Any])
    S = TypeVar("S", bound=CommonSettings)


class Pog(click.Group):
    """The group of commands; an error that we raise on purpose ends it with one line and no traceback."""

    def main(self, *args: Any, **extra: Any) -> Any:
        with standard_streams():
            return super().main(*args, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            if "@" not in (message := error.format_message()):
                raise
            # It repeats what was given; a server's address may have been given with a login.
            raise click.UsageError(re.sub(r"[^\s('\"]\S*@", "***@", message), error.ctx) from None
        except KeyboardInterrupt:  # before a program's own handler is there; that one ends it in peace
            raise SystemExit(128 + signal.SIGINT) from None
        except (PogError, OSError, ExceptionGroup) as error:
            cause: Exception = error
            while isinstance(cause, ExceptionGroup):
                cause = cause.exceptions[0]
            if isinstance(cause, SettingsError):
                fail(str(cause), 2)
            if isinstance(cause, PogError):
                fail(str(cause), 1)
            if isinstance(cause, OSError):
                file = f"{cause.filename}: " if cause.filename else ""
                fail(f"{file}{cause.strerror or cause}", 1)
            raise


def fail(problem: str, status: int) -> NoReturn:
    announce(f"pog: {problem}", logging.ERROR)
    raise SystemExit(status)


def announce(line: str, level: int = logging.INFO, *, err: bool = True) -> None:
    """For a person as it is; for a machine that reads JSON, once that is known, as one more record."""
    settings = click.get_current_context().find_root().obj
    if settings is not None and settings.log_format == "json":
        logging.getLogger("pog").log(level, line, stacklevel=2)
        return
    with suppress(OSError, ValueError):  # a full disk must not end what serves
        (STDERR if err else STDOUT).write(line + "\n")


def remembered(settings: S) -> S:
    """The settings, which `announce` knows from here on."""
    click.get_current_context().find_root().obj = settings
    return settings


@click.group(cls=Pog, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(pog.__version__, prog_name="pog")
def main() -> None:
    """Proxy over gRPC: an HTTP proxy on this side, a gRPC server with a good address on the other."""


def rows(cls: type[CommonSettings], *left_out: str) -> list[Setting]:
    """The settings of a command, but for the fields left out."""
    return [each for name, row in table(cls) for each in row.spellings if name not in left_out]


def takes(settings: list[Setting]) -> Callable[[F], F]:
    """Gives a command the flags of these settings; those without a flag are named below its help."""

    def decorate(command: F) -> F:
        for each in reversed([row for row in settings if row.flag]):
            command = option(each)(command)
        return command

    return decorate


def option(row: Setting) -> Callable[[F], F]:
    known = [row.env, "required" if row.is_required else row.shown_default and f"default {row.shown_default}"]
    help = f"{row.help}  [{'; '.join(each for each in known if each)}]"
    if row.is_switch:
        return click.option(f"{row.flag}/{row.flag.replace('--', '--no-', 1)}", row.key, default=None, help=help)
    return click.option(row.flag, row.key, metavar=row.kind.metavar, help=help)


def only_variables(settings: list[Setting]) -> str:
    """What has no flag, for the end of a command's help: secrets would show in the list of processes."""
    lines = [f"  {row.env}  {row.kind.metavar}\n      {row.help}" for row in settings if not row.flag]
    return "\b\nOnly as environment variables:\n" + "\n".join(lines)


SERVER_ROWS = rows(ServerSettings)
CLIENT_ROWS = rows(ClientSettings)
# What `up` decides itself is left out.
UP_SERVER_ROWS = rows(ServerSettings, "listen", "workers", "grpc_and_http_mux", "auth_file")
UP_CLIENT_ROWS = rows(ClientSettings, "server_addr", "server_host", "insecure", "skip_verify")
UP_ROWS = UP_CLIENT_ROWS + [row for row in UP_SERVER_ROWS if row not in UP_CLIENT_ROWS]


@main.command(epilog=only_variables(SERVER_ROWS))
@takes(SERVER_ROWS)
def server(**flags: object) -> None:
    """Serve tunnels: the end with the good address."""
    settings = remembered(load(ServerSettings, os.environ, flags))
    if settings.workers > 1:
        from pog.cli.workers import run as run_workers

        run_workers(settings, says("pog server on"))
        return
    from pog.server.serve import serve

    run_logged(settings, lambda shutdown: serve(settings, shutdown=shutdown, started=says("pog server on")))


@main.command(epilog=only_variables(CLIENT_ROWS))
@takes(CLIENT_ROWS)
def client(**flags: object) -> None:
    """Be an HTTP proxy for programs here, and tunnel their connections to a server."""
    settings = remembered(load(ClientSettings, os.environ, flags))
    from pog.client.app import run as run_client

    def started(addresses: list[Address]) -> None:
        says("pog client on")(addresses)
        warn_if_open(settings, addresses)

    run_logged(settings, lambda shutdown: run_client(settings, shutdown=shutdown, started=started))


@main.command(epilog=only_variables(UP_ROWS))
@takes(UP_ROWS)
def up(**flags: object) -> None:
    """Run both ends here, for a first look: a proxy that goes through gRPC once around this machine."""
    from pog.cli.up import SERVER_LISTEN
    from pog.cli.up import up as run_both

    decided = {"listen": SERVER_LISTEN, "grpc_and_http_mux": True, "auth_file": None}
    ours = load(ServerSettings, os.environ, flags | decided)
    fixed = {"server_addr": SERVER_LISTEN, "server_host": "", "insecure": True, "skip_verify": False}
    theirs = remembered(load(ClientSettings, os.environ, flags | fixed))

    def started(server: Address, clients: list[Address]) -> None:
        client = clients[0]
        announce(f"server on {server}", err=False)
        proxy = client if client.host not in ("", "0.0.0.0", "::") else Address("127.0.0.1", client.port)
        login = f"{theirs.auth_items[0].name}:PASSWORD@" if theirs.auth_items else ""
        announce(f"proxy http://{proxy}", err=False)
        announce(f"try:  curl -x http://{login}{proxy} https://example.com/", err=False)
        warn_if_open(theirs, clients)

    run_logged(theirs, lambda shutdown: run_both(ours, theirs, shutdown=shutdown, started=started))


def warn_if_open(settings: ClientSettings, addresses: list[Address]) -> None:
    """An open proxy says so loudly; the server does that for itself, however it is started."""
    exposed = ", ".join(str(each) for each in addresses if not each.is_loopback)
    if exposed and not settings.auth_items:
        announce(
            f"OPEN PROXY: no CLIENT_AUTH_* is set and {exposed} is not loopback: whoever reaches it may use it",
            logging.WARNING,
        )


def say(line: str) -> None:
    click.echo(line)


def says(what: str) -> Callable[[list[Address]], None]:
    """Says where a program listens; on standard error, for the access log has the other."""
    return lambda addresses: announce(f"{what} {', '.join(map(str, addresses))}")


def run_logged(settings: CommonSettings, program: Callable[[asyncio.Event], Coroutine[object, object, None]]) -> None:
    """Runs a program that tells what it does."""
    from pog.observe.messages import set_up_logging
    from pog.process.run import run

    set_up_logging(settings.log_level, settings.log_format)
    run(program)


def duration(text: str) -> float:
    """Seconds of a duration as Go writes it."""
    try:
        return parse_duration(text)
    except ValueError:
        raise click.BadParameter(f"must be a duration such as 100000h or 1h30m, not {text!r}") from None


def seconds(text: str) -> float:
    try:
        return POSITIVE_SECONDS.parse(text)
    except ValueError:
        raise click.BadParameter(f"must be {POSITIVE_SECONDS.form}, not {text!r}") from None


# How a server is reached, whoever asks; and the variables that may say it.
PROBE_ROWS = [row for row in CLIENT_ROWS if row.key in ("server_host", "insecure", "skip_verify")]
PROBE_VARIABLES = {"CLIENT_POG_AUTH", *(row.env for row in PROBE_ROWS)}


def probes(command: F) -> F:
    """Gives a command what it needs to ask a server something once."""
    for decorate in (
        click.option("--limit", type=seconds, default="5", show_default=True, help="Seconds that it may take in all."),
        click.option("--auth", metavar=LOGIN.metavar, help="Who we are to the server.  [CLIENT_POG_AUTH]"),
        takes(PROBE_ROWS),
        click.argument("addr", metavar=SERVER.metavar),
    ):
        command = decorate(command)
    return command


def probe_settings(flags: dict[str, object | None], addr: str, auth: str | None) -> ClientSettings:
    """The settings of a client of `addr`, as far as a single call needs them."""
    environ = {name: value for name, value in os.environ.items() if name in PROBE_VARIABLES}
    if auth is not None:
        environ["CLIENT_POG_AUTH"] = auth
    try:
        return load(ClientSettings, environ, flags | {"server_addr": addr})
    except SettingsError as error:
        said = {"--server-addr": SERVER.metavar} | ({} if auth is None else {"CLIENT_POG_AUTH": "--auth"})
        raise SettingsError(said.get(error.name, error.name), error.problem) from None


@main.command()
@click.option("--service", default="", help="One of the server's services, such as HTTPProxy; else the server.")
@probes
def health(addr: str, service: str, limit: float, auth: str | None, **flags: object) -> None:
    """Ask a server whether it is well: status 0 when it says SERVING, otherwise 1.

    It asks grpc.health.v1, which needs no credentials; without that, the health check of the original, which may.
    """
    import asyncio

    from pog.client.probe import SERVING
    from pog.client.probe import health as ask

    status = asyncio.run(ask(probe_settings(flags, addr, auth), service, limit))
    say(status)
    raise SystemExit(0 if status == SERVING else 1)


@main.command()
@probes
def stacks(addr: str, limit: float, auth: str | None, **flags: object) -> None:
    """Print the stacks of all tasks and threads of a server: where each one is, or waits."""
    import asyncio

    from pog.client.probe import stacks as ask

    say(asyncio.run(ask(probe_settings(flags, addr, auth), limit)))


@main.command()
@click.option("--name", default="name", show_default=True, help="Account name.")
@click.option("--password", default="password", show_default=True, help="Account password.")
@click.option(
    "--timeToLive", "ttl", type=duration, default="4320h", show_default=True, help="How long the account is good."
)
def genauthitem(name: str, password: str, ttl: float) -> None:
    """Print an auth item, with the flags of the Go original. `pog auth new` is kinder to passwords."""
    from pog.config.auth_items import new_item

    say(new_item(name, password, ttl))


@main.group()
def auth() -> None:
    """Auth items: who may use a server or a client."""


@auth.command("new")
@click.argument("name")
@click.option("--password", help="The password; others on this machine can see it in the list of processes.")
@click.option("--generate", is_flag=True, help="Make up a strong password and print it on standard error.")
@click.option("--ttl", type=duration, default="4320h", show_default=True, help="How long the item is good.")
def auth_new(name: str, password: str | None, generate: bool, ttl: float) -> None:
    """Print a new auth item for NAME as JSON.

    The password is made up, given, asked for on a terminal, or else read from the first line of standard input.
    """
    from pog.config.auth_items import new_item, parse_item

    if generate and password is not None:
        raise SettingsError("--generate", "must not be given together with --password")
    if ttl <= 0:
        raise SettingsError("--ttl", "must be more than 0")
    if generate:
        import secrets

        password = secrets.token_urlsafe(18)
    elif password is None:
        password = asked_password()
    if not password:
        raise SettingsError("password", "must be given by --password, --generate or on standard input")
    item = new_item(name, password, ttl)
    if generate:
        click.echo(f"password: {password}", err=True)
    say(item)
    suffix = re.sub(r"[^A-Z0-9]+", "_", name.upper())
    announce(
        f"{name} may pass until {parse_item(item).expires:%Y-%m-%d %H:%M:%S} UTC, once the server is started with\n"
        f"  POG_AUTH_{suffix}={shlex.quote(item)}\n"
        f"or the client with CLIENT_AUTH_{suffix} and the same; mind the quotes."
    )


def asked_password() -> str:
    if sys.stdin.isatty():
        asked: str = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
        return asked
    return cleaned(sys.stdin.readline())
