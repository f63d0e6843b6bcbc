"""The configuration of a client before it runs: `pog config check` and `pog config show`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from pog.cli.group import say
from pog.cli.options import columns, examples, rows, takes
from pog.config.client import load_client
from pog.config.client_settings import ClientSettings
from pog.config.settings import table

if TYPE_CHECKING:
    from collections.abc import Iterable

SHOW_ROWS = rows(ClientSettings)


@click.group(
    short_help="Check or show the configuration of a client.",
    epilog=examples("pog config check pog.toml", "pog config show"),
)
def config() -> None:
    """What `pog client` would run with, from its flags, variables and configuration file."""


@config.command(short_help="Say what is wrong with a configuration file.", epilog=examples("pog config check pog.toml"))
@click.argument("file", required=False)
def check(file: str | None) -> None:
    """Say what is wrong in FILE, or in what `pog client` would read: status 0 when it can be used, otherwise 2.

    What is probably a mistake is a warning: a rule that is never used, an exit in no rule.
    """
    loaded = load_client(os.environ, {} if file is None else {"config": file})
    for note in loaded.notes:
        say(f"warning: {note}")
    settings = loaded.settings
    declared = len(settings.rules) - 1 if settings.rules else 0
    exits = ", ".join(exit.name for exit in settings.exits)
    say(f"{loaded.path or 'no configuration file'}: ok; exits: {exits}; rules: {declared}")


@config.command(
    short_help="Show every value and where it comes from.",
    epilog=examples("pog config show", "pog config show --config pog.toml"),
)
@takes(SHOW_ROWS)
def show(**flags: object) -> None:
    """Show every value that `pog client` would run with, and where it comes from: flag, variable, file or default.

    Exits and rules follow. No secret is shown.
    """
    from pog.config.describe import describe_exit, describe_rule, describe_value

    loaded = load_client(os.environ, flags)
    settings = loaded.settings
    lines = []
    for name, row in table(ClientSettings):
        origin = loaded.origins.get(name, "default")
        lines.append((row.key if row.flag else row.env, describe_value(getattr(settings, name)) or "-", origin))
    columns(lines)
    say(f"\nexits, from {settings.config or loaded.origins.get('server_addr')}")
    _list(describe_exit(exit) for exit in settings.exits)
    if settings.rules:
        say(f"\nrules, from {settings.config}; the first that matches counts")
        _list(describe_rule(rule) for rule in settings.rules)


def _list(each: Iterable[dict[str, Any]]) -> None:
    columns([(found["name"], in_line(found)) for found in each])


def in_line(found: dict[str, Any]) -> str:
    """What describes an exit or a rule, but for its name."""
    return "; ".join(f"{key} {_text(value)}" for key, value in found.items() if key != "name")


def _text(value: Any) -> str:
    match value:
        case list():
            return ", ".join(value) if value else "none"
        case True:
            return "on"
        case _:
            return str(value)
