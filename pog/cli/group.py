"""The group of commands: how an error ends one, and how a command says something."""

from __future__ import annotations

import logging
import re
import signal
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

from pog.errors import PogError, SettingsError
from pog.process.output import STDERR, STDOUT
from pog.process.stdio import standard_streams

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pog.config.settings import CommonSettings

    S = TypeVar("S", bound=CommonSettings)


class Pog(click.Group):
    """The group of commands; an error that we raise on purpose ends it with one line and no traceback."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """As they were added: what one needs first comes first."""
        return list(self.commands)

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
                fail(f"{file}{cause.strerror or cause}{self._advice(ctx, cause)}", 1)
            raise

    def _advice(self, ctx: click.Context, error: OSError) -> str:
        """The flags that choose another place to listen at, when it was that which failed."""
        from pog.net.listen import CannotListen

        command = self.get_command(ctx, ctx.invoked_subcommand or "")
        if not isinstance(error, CannotListen) or command is None:
            return ""
        flags = [each.opts[0] for each in command.params if each.name in ("listen", "port")]
        return f"; choose another place with {' or '.join(flags)}" if flags else ""


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


def say(line: str) -> None:
    click.echo(line)


def says(what: str) -> Callable[[Sequence[object]], None]:
    """Says where a program listens; on standard error, for the access log has the other."""
    return lambda places: announce(f"{what} {', '.join(map(str, places))}")
