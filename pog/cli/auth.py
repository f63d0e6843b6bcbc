"""The commands that make auth items: `pog auth new`, and `pog genauthitem` with the flags of the Go original."""

from __future__ import annotations

import re
import shlex
import sys

import click

from pog.cli.group import announce, say
from pog.cli.options import duration, examples
from pog.config.parsers import cleaned
from pog.errors import SettingsError


@click.command(
    short_help="Print an auth item, as the Go original.",
    epilog=examples("pog genauthitem --name laptop --password PASSWORD --timeToLive 100000h"),
)
@click.option("--name", default="name", show_default=True, help="Account name.")
@click.option("--password", default="password", show_default=True, help="Account password.")
@click.option(
    "--timeToLive", "ttl", type=duration, default="4320h", show_default=True, help="How long the account is good."
)
def genauthitem(name: str, password: str, ttl: float) -> None:
    """Print an auth item, with the flags of the Go original. `pog auth new` is kinder to passwords."""
    from pog.config.auth_items import new_item

    say(new_item(name, password, ttl))


@click.group(epilog=examples("pog auth new laptop --generate"))
def auth() -> None:
    """Auth items: who may use a server or a client."""


@auth.command("new", epilog=examples("pog auth new laptop --generate", "pog auth new laptop --ttl 365d < password.txt"))
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
