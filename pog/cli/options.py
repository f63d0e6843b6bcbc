"""Options of commands, made from the settings table."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import click

from pog.config.parsers import POSITIVE_SECONDS, parse_duration
from pog.config.settings import CommonSettings, table
from pog.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from pog.config.options import Setting

    F = TypeVar("F", bound=Callable[..., Any])

COMMON = [each for _, row in table(CommonSettings) for each in row.spellings]


def rows(cls: type[CommonSettings], *left_out: str) -> list[Setting]:
    """The settings of a command, but for the fields left out: its own first, then those that all programs have."""
    found = [each for name, row in table(cls) for each in row.spellings if name not in left_out]
    return sorted(found, key=COMMON.__contains__)


def quiet(settings: list[Setting], level: str) -> list[Setting]:
    """The settings of a command whose standard error is shown among what another program says: it says little, unless
    more is asked for. To be read from `quiet_environ`."""
    return [replace(row, default=level) if row.env == "LOG_LEVEL" else row for row in settings]


def quiet_environ(environ: Mapping[str, str], level: str) -> dict[str, str]:
    """The environment of such a command."""
    return {**environ, "LOG_LEVEL": environ.get("LOG_LEVEL") or level}


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
    if row.kind.many or row.once:
        callback = _joined if row.kind.many else _only_one
        return click.option(row.flag, row.key, metavar=row.kind.metavar, multiple=True, callback=callback, help=help)
    return click.option(row.flag, row.key, metavar=row.kind.metavar, help=help)


def _joined(_context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]) -> str | None:
    return ",".join(values) if values else None


def _only_one(_context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> str | None:
    if len(values) > 1:
        raise SettingsError(
            parameter.opts[0], f"is given {len(values)} times; several exits are written into a file (--config)"
        )
    return values[0] if values else None


def only_variables(settings: list[Setting]) -> str:
    """What has no flag, for the end of a command's help: secrets would show in the list of processes."""
    lines = [f"  {row.env}  {row.kind.metavar}\n      {row.help}" for row in settings if not row.flag]
    return "\b\nOnly as environment variables:\n" + "\n".join(lines) + "\n\n"


def examples(*lines: str) -> str:
    """The last words of a command's help."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """The lines of a table, indented; the last column is as long as it is."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def columns(rows: Sequence[Sequence[str]]) -> None:
    """Prints a table."""
    for line in aligned(rows):
        click.echo(line)


def duration(text: str) -> float:
    """Seconds of a duration as Go writes it, or in days."""
    try:
        return parse_duration(text)
    except ValueError:
        raise click.BadParameter(f"must be a duration such as 180d, 100000h or 1h30m, not {text!r}") from None


def seconds(text: str) -> float:
    try:
        return POSITIVE_SECONDS.parse(text)
    except ValueError:
        raise click.BadParameter(f"must be {POSITIVE_SECONDS.form}, not {text!r}") from None
