"""One row of the settings table: flag, variable, kind of value, default and help text. [pure]"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pog.config.parsers import BOOL, OFF_IF_SET, Kind, cleaned
from pog.errors import SettingsError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Setting:
    """`env` with * at its end stands for all variables with that prefix. `also` is an older spelling of the setting.

    Of a flag that is given twice the last one counts, as is usual; with `once` that is an error.
    """

    flag: str
    env: str
    kind: Kind[Any]
    default: Any
    help: str
    also: "Setting | None" = None
    once: bool = False

    @property
    def key(self) -> str:
        """The name under which a command passes the value of the flag."""
        return self.flag.removeprefix("--").replace("-", "_")

    @property
    def is_switch(self) -> bool:
        return self.kind in (BOOL, OFF_IF_SET)

    @property
    def is_required(self) -> bool:
        return self.default is dataclasses.MISSING

    @property
    def shown_default(self) -> str:
        """The default as a user would write it; empty where the default is to leave it unset."""
        return "" if self.kind is OFF_IF_SET else shown(self.default)

    @property
    def spellings(self) -> list["Setting"]:
        """The row and its older spelling, which has lower precedence."""
        return [self, self.also] if self.also else [self]

    def read(self, name: str, text: str) -> Any:
        """Raises SettingsError that names the variable or flag, the accepted form and, but for secrets, the value."""
        try:
            return self.kind.parse(cleaned(text))
        except SettingsError as error:  # about a file that the value names
            raise SettingsError(name, f"must be {self.kind.form}: {error}") from None
        except ValueError:
            got = "" if self.kind.secret else f", not {without_login(text)[:80]!r}"
            raise SettingsError(name, f"must be {self.kind.form}{got}") from None

    def given(
        self, environ: Mapping[str, str], flags: Mapping[str, object | None]
    ) -> Iterator[tuple[str, Callable[[], Any]]]:
        """The values given, highest precedence first: the flag or variable, and the value, parsed when called."""
        for row in self.spellings:
            flag = flags.get(row.key) if row.flag else None
            if flag is not None:
                given = isinstance(flag, str) and flag != row.default  # "" unsets where that is the default
                yield row.flag, lambda row=row, flag=flag, given=given: row.read(row.flag, flag) if given else flag  # type: ignore[misc]
        for row in self.spellings:
            if text := environ.get(row.env):
                yield row.env, lambda row=row, text=text: row.read(row.env, text)  # type: ignore[misc]


def without_login(text: str) -> str:
    """The text with *** in place of all before its last @, which may be user:password."""
    _, at, rest = text.rpartition("@")
    return f"***{at}{rest}" if at else text


def setting(
    flag: str, env: str, kind: Kind[T], default: T, help: str, also: Setting | None = None, once: bool = False
) -> T:
    """A field of a settings class; at run time a dataclass field that carries its row."""
    return field(default=default, metadata={"setting": Setting(flag, env, kind, default, help, also, once)})


def required(flag: str, env: str, kind: Kind[Any], help: str) -> Mapping[str, Setting]:
    """The metadata of a field that has no default."""
    return {"setting": Setting(flag, env, kind, dataclasses.MISSING, help)}


def shown(default: object) -> str:
    """A default as a user would write it."""
    match default:
        case True | False:
            return "1" if default else "0"
        case float():
            return f"{default:g}"
        case None | "" | () | dataclasses.MISSING:
            return ""
        case tuple():
            return ",".join(map(str, default))
        case _:
            return str(default)
