"""One row of the settings table: the flag, the variable, the kind of value, the default, and what it is for. [pure]"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pog.config.parsers import BOOL, OFF_IF_SET, Kind, cleaned
from pog.errors import SettingsError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Setting:
    """A variable that ends with * stands for every variable that begins so. `also` is an older way to say the same."""

    flag: str
    env: str
    kind: Kind[Any]
    default: Any
    help: str
    also: "Setting | None" = None

    @property
    def key(self) -> str:
        """Under this name a command hands over the value of the flag."""
        return self.flag.removeprefix("--").replace("-", "_")

    @property
    def is_switch(self) -> bool:
        return self.kind in (BOOL, OFF_IF_SET)

    @property
    def is_required(self) -> bool:
        return self.default is dataclasses.MISSING

    @property
    def shown_default(self) -> str:
        """The default as one would write it; nothing where it is to write nothing."""
        return "" if self.kind is OFF_IF_SET else shown(self.default)

    @property
    def spellings(self) -> list["Setting"]:
        """The row and the older way to say the same; the first wins."""
        return [self, self.also] if self.also else [self]

    def read(self, name: str, text: str) -> Any:
        """Raises SettingsError that names the variable or flag, the accepted form and, but for secrets, the value."""
        try:
            return self.kind.parse(cleaned(text))
        except SettingsError as error:  # of what the text leads to
            raise SettingsError(name, f"must be {self.kind.form}: {error}") from None
        except ValueError:
            got = "" if self.kind.secret else f", not {without_login(text)[:80]!r}"
            raise SettingsError(name, f"must be {self.kind.form}{got}") from None

    def given(self, environ: Mapping[str, str], flags: Mapping[str, object | None]) -> Iterator[Callable[[], Any]]:
        """What was said, the strongest first, each to be parsed by a call: what loses is never looked at."""
        for row in self.spellings:
            flag = flags.get(row.key) if row.flag else None
            if flag is not None:
                given = isinstance(flag, str) and flag != row.default  # "" where that is the default says: none
                yield lambda row=row, flag=flag, given=given: row.read(row.flag, flag) if given else flag  # type: ignore[misc]
        for row in self.spellings:
            if text := environ.get(row.env):
                yield lambda row=row, text=text: row.read(row.env, text)  # type: ignore[misc]


def without_login(text: str) -> str:
    """The text with *** for what stands before its last @: somebody may have written user:password@host:port."""
    _, at, rest = text.rpartition("@")
    return f"***{at}{rest}" if at else text


def setting(flag: str, env: str, kind: Kind[T], default: T, help: str, also: Setting | None = None) -> T:
    """A field of a settings class; at run time a dataclass field that carries its row."""
    return field(default=default, metadata={"setting": Setting(flag, env, kind, default, help, also)})


def required(flag: str, env: str, kind: Kind[Any], help: str) -> Mapping[str, Setting]:
    """The metadata of a field that has no default."""
    return {"setting": Setting(flag, env, kind, dataclasses.MISSING, help)}


def shown(default: object) -> str:
    """A default as one would write it."""
    match default:
        case True | False:
            return "1" if default else "0"
        case float():
            return f"{default:g}"
        case None | "" | () | dataclasses.MISSING:
            return ""
        case _:
            return str(default)
