"""How the settings of the two programs are read, and those that both have: frozen, read once, handed down; nothing
else reads the environment. Those of one program are in client_settings and server_settings.

Every field is one row of a table: flag, variable, kind of value, default and what it is for. The row drives the reading
of flags and variables, the options of the commands and the tables in the README. Times are in seconds.

A flag wins over a variable, a variable over the default. An empty variable counts as unset, as in the Go original.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pog.config import parsers
from pog.config.auth_items import ITEM, AuthItem, ItemFile, parse_items
from pog.config.options import Setting, setting
from pog.config.parsers import Kind
from pog.errors import SettingsError

S = TypeVar("S", bound="CommonSettings")

LISTEN_HELP = (
    "without a host, or with 0.0.0.0 or [::], on every address, IPv4 and IPv6; with a name on all its addresses"
)

AUTH: Kind[tuple[AuthItem, ...]] = Kind("JSON", ITEM.form, lambda text: (ITEM.parse(text),), secret=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class CommonSettings:
    """What server and client have in common."""

    metric_namespace: str = setting(
        "--metric-namespace",
        "METRIC_NAMESPACE",
        parsers.NAMESPACE,
        "",
        "Prefix for the names of all metrics except `grpc_io_*`.",
    )
    access_log: bool = setting(
        "--access-log",
        "DISABLE_ACCESS_LOGGING",
        parsers.OFF_IF_SET,
        True,
        "The access log on standard output. Any value of the variable turns it off.",
    )
    log_ends: bool = setting(
        "--log-ends",
        "LOG_ENDS",
        parsers.BOOL,
        True,
        "The line when a tunnel has ended: bytes, seconds and reason. The Go original has none.",
    )
    grpc_builtin_metrics: bool = setting(
        "--grpc-builtin-metrics",
        "GRPC_BUILTIN_METRICS",
        parsers.BOOL,
        True,
        "Count gRPC calls in the metrics `grpc_io_*`.",
    )
    idle_timeout: float = setting(
        "--idle-timeout",
        "TUNNEL_IDLE_TIMEOUT",
        parsers.SECONDS,
        0.0,
        "End a tunnel after this many seconds without traffic; 0 disables it.",
    )
    half_close_timeout: float = setting(
        "--half-close-timeout",
        "TUNNEL_HALF_CLOSE_TIMEOUT",
        parsers.SECONDS,
        60.0,
        "The same for a tunnel that is closed in one direction.",
    )
    drain_timeout: float = setting(
        "--drain-timeout",
        "DRAIN_TIMEOUT",
        parsers.SECONDS,
        8.0,
        "Seconds that open tunnels may continue after SIGTERM.",
    )
    log_level: str = setting(
        "--log-level",
        "LOG_LEVEL",
        parsers.choice("debug", "info", "warning", "error"),
        "info",
        "Minimum severity of the messages on standard error.",
    )
    log_format: str = setting(
        "--log-format",
        "LOG_FORMAT",
        parsers.choice("line", "json"),
        "line",
        "`line` as the Go original; `json`: one object per record, with the fields of Cloud Logging.",
    )


class Guarded:
    """Settings of a program that may require credentials."""

    __slots__ = ()
    auth: tuple[AuthItem, ...]
    auth_file: ItemFile | None

    @property
    def auth_items(self) -> tuple[AuthItem, ...]:
        """The items of the variables, then those of the file as read at the start."""
        return self.auth + (self.auth_file.items if self.auth_file else ())


NOT_SET = "is not set; it must be {form} (or give {flag})"


def table(cls: type[CommonSettings]) -> Iterator[tuple[str, Setting]]:
    """Field and row, in the order of declaration, inherited ones first."""
    for each in dataclasses.fields(cls):
        if "setting" in each.metadata:
            yield each.name, each.metadata["setting"]


def load(
    cls: type[S],
    environ: Mapping[str, str],
    flags: Mapping[str, object | None],
    file: Mapping[str, str] | None = None,
    origins: dict[str, str] | None = None,
) -> S:
    """Settings from flags, environment and `file`, in that order. Raises SettingsError.

    The keys of `flags` are those of Setting.key; text is parsed, other values are used as they are, None is unset. The
    keys of `file` are the same, its values are texts. `origins` gets what each field was given by, but for defaults: a
    flag, a variable (several are joined), or "file".
    """
    given_by: dict[str, str] = {} if origins is None else origins
    found: dict[str, Any] = {}
    for name, row in table(cls):
        if row.env.endswith("*"):
            found[name] = parse_items(row.env[:-1], environ)
            if found[name]:
                prefix = row.env[:-1]
                given_by[name] = ", ".join(sorted(each for each in environ if each.startswith(prefix)))
        elif given := next(row.given(environ, flags), None):
            given_by[name], parse = given
            found[name] = parse()
        elif file and row.flag and row.key in file:
            given_by[name] = "file"
            found[name] = row.read(row.key, file[row.key])
        elif row.is_required:
            raise SettingsError(row.env, NOT_SET.format(form=row.kind.form, flag=row.flag))
    return cls(**found)


def markdown(cls: type[CommonSettings]) -> str:
    """The settings that a class adds to those it inherits, as a table for the README."""
    inherited = {
        each.name for base in cls.__mro__[1:] if dataclasses.is_dataclass(base) for each in dataclasses.fields(base)
    }
    lines = ["| Variable | Flag | What it is for | Default |", "|---|---|---|---|"]
    for name, row in table(cls):
        for each in row.spellings if name not in inherited else ():
            default = "required" if each.is_required else _code(each.shown_default)
            lines.append(f"| {_code(each.env)} | {_code(each.flag)} | {each.help} | {default} |")
    return "\n".join(lines) + "\n"


def _code(text: str) -> str:
    return f"`{text}`" if text else ""
