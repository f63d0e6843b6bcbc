"""Auth items: the users of a program, each as JSON in its own variable, interchangeable with the Go original.

    POG_AUTH_ILYA={"name":"ilya","hash":"$2a$10$...","exp_date":"2035-11-12T05:22:05Z"}

`hash` is bcrypt's, `exp_date` is RFC 3339. Of two items with one name the first counts, as in the original.

Items may also be lines of a file, which is read again on SIGHUP; empty lines and those that begin with # are skipped.
POG_AUTH_FILE, which names the file, has the prefix of an item's variable too: a value that begins with { is an item.
"""

import io
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from pog.config.files import read_text
from pog.config.parsers import Kind, cleaned, is_presentable
from pog.errors import SettingsError

# bcrypt takes the first 72 bytes of a password; Go's GenerateFromPassword refuses longer ones, so that nothing is lost.
LONGEST_PASSWORD = 72
# bcrypt.DefaultCost of Go: about 50 ms on a core of 2024.
COST = 10
# The base64 alphabet of bcrypt: 22 characters of salt, whose last one holds 2 bits, and 31 of hash. Cost 4 to 31.
HASH = re.compile(r"\$2[aby]\$(0[4-9]|[12][0-9]|3[01])\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{31}")
RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d([.,]\d+)?(Z|[+-]\d\d:\d\d)", re.ASCII)


@dataclass(frozen=True, slots=True)
class AuthItem:
    """One user: name, bcrypt hash of the password, time of expiry."""

    name: str
    hash: str = field(repr=False)
    expires: datetime

    @property
    def cost(self) -> int:
        """bcrypt's cost: one more doubles the work of a check."""
        return int(self.hash[4:6])


def parse_expiry(text: str) -> datetime:
    if not RFC3339.fullmatch(text):
        raise ValueError("exp_date is not RFC 3339")
    return datetime.fromisoformat(text)


def parse_item(text: str) -> AuthItem:
    """Raises ValueError; its text says what is wrong and never repeats the value."""
    try:
        given = json.loads(text)
    except ValueError:
        raise ValueError("not JSON; a shell or an env file may have eaten the quotes") from None
    if not isinstance(given, dict):
        raise ValueError("not a JSON object")
    name, hashed, expiry = (given.get(key) for key in ("name", "hash", "exp_date"))
    if not isinstance(name, str) or not name or ":" in name or not is_presentable(name):
        raise ValueError("name is missing, or holds a colon or a control character")
    if not isinstance(hashed, str) or not HASH.fullmatch(hashed):
        raise ValueError("hash is not one of bcrypt; an env file without single quotes may have expanded its $ signs")
    if not isinstance(expiry, str):
        raise ValueError("exp_date is missing")
    try:
        return AuthItem(name, hashed, parse_expiry(expiry))
    except ValueError:
        raise ValueError('exp_date is not RFC 3339, such as "2035-11-12T05:22:05Z"') from None


ITEM = Kind(
    "JSON", 'an auth item, as {"name":"...","hash":"...","exp_date":"..."} from `pog auth new`', parse_item, True
)


def parse_items(prefix: str, environ: Mapping[str, str]) -> tuple[AuthItem, ...]:
    """The items in all variables that begin with `prefix`. Raises SettingsError with the name of the bad variable.

    An empty variable holds no item. That differs from the original, which stops; so does every other bad value here.
    """
    items = []
    for variable, text in environ.items():
        if text and _is_misnamed(variable, prefix, text):
            raise SettingsError(variable, f"is not read; the variable of an auth item begins with {prefix}")
        if not variable.startswith(prefix) or not text:
            continue
        if variable == f"{prefix}FILE" and not _is_item(text):
            continue
        try:
            items.append(parse_item(cleaned(text)))
        except ValueError as error:
            raise SettingsError(variable, f"must be {ITEM.form}: {error}") from None
    return tuple(items)


def _is_misnamed(variable: str, prefix: str, text: str) -> bool:
    """POG_AUTH or POG_AUTHX: who writes that means an item, and without items a program may be open. The client's
    prefix is a common word: another program may have CLIENT_AUTHORITY."""
    stem = prefix.removesuffix("_")
    if not variable.startswith(stem) or variable.startswith(prefix):
        return False
    return variable == stem or stem.startswith("POG_") or _is_item(text)


def _is_item(text: str) -> bool:
    return cleaned(text).lstrip().startswith("{")


@dataclass(frozen=True, slots=True)
class ItemFile:
    """A file of items, as it was when it was read."""

    path: str
    items: tuple[AuthItem, ...]

    @classmethod
    def read(cls, path: str) -> "ItemFile":
        """Raises SettingsError, which names the file and the line.

        A file without items is an error too: without any, a server or client is open, and a file that is being written
        may be empty for a moment.
        """
        items = []
        for number, line in enumerate(io.StringIO(read_text(path), newline=None), 1):
            line = line.strip()
            if line and not line.startswith("#"):
                try:
                    items.append(parse_item(line))
                except ValueError as error:
                    raise SettingsError(f"{path}, line {number}", f"must be {ITEM.form}: {error}") from None
        if not items:
            raise SettingsError(
                path, "must hold at least one item, one per line; without any, the program would be open"
            )
        return cls(path, tuple(items))

    def __str__(self) -> str:
        return self.path


ITEM_FILE: Kind[ItemFile | None] = Kind(
    "PATH", "the path of a file of auth items", lambda text: None if _is_item(text) else ItemFile.read(text)
)


def new_item(name: str, password: str, ttl: float, *, cost: int = COST, now: datetime | None = None) -> str:
    """A new item as one line of JSON, valid for `ttl` seconds. Raises SettingsError for what no login could match."""
    if not name or ":" in name or not name.isprintable():
        raise SettingsError("name", "must be printable text without a colon")
    secret = password.encode("utf-8", "surrogatepass")
    if len(secret) > LONGEST_PASSWORD:
        raise SettingsError("password", f"must be at most {LONGEST_PASSWORD} bytes long, the limit of bcrypt")
    if not is_presentable(password):
        raise SettingsError("password", "must hold no control character: no program could present it (RFC 7617)")
    import bcrypt

    expires = (now or datetime.now(UTC)).astimezone(UTC) + timedelta(seconds=ttl)
    item = {
        "name": name,
        "hash": bcrypt.hashpw(secret, bcrypt.gensalt(cost, prefix=b"2a")).decode(),
        "exp_date": expires.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    return json.dumps(item, ensure_ascii=False, separators=(",", ":"))
