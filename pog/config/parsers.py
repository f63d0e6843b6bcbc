"""How values are written in settings: the grammar of each kind, its parser, and the form that errors name. [pure]

    boolean    1 t T TRUE true True / 0 f F FALSE false False, as Go's strconv.ParseBool
    seconds    10, 0.5, or a duration as in Go and with days: 10s, 1m30s, 100000h, 30d
    listen     [host]:port as in Go; ":18080" is every address of this machine, IPv4 and IPv6
    server     host:port
    authority  host or host:port, without a user (RFC 9113 8.3.1)
    login      user:password, without control characters (RFC 7617 section 2)
    networks   10.0.0.0/8,::1/128
    names      client,proxy.example.com

A host is an address (IPv6 in brackets) or a name, which may be absolute (a dot behind it) or beyond ASCII (IDNA).

Parsers raise ValueError on anything else; settings.load turns that into a SettingsError with the name and the form.
`cleaned` removes what a file may have added around a value.
"""

import ipaddress
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from pog.config.exits import BuiltIn, Login
from pog.net.address import Address, join_host_port, parse_host_port
from pog.net.pins import parse_pin

T_co = TypeVar("T_co", covariant=True)
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Kind(Generic[T_co]):
    """One kind of value. `form` completes the sentence «must be ...»; a secret is never shown, not even when wrong."""

    metavar: str
    form: str
    parse: Callable[[str], T_co]
    secret: bool = False
    # A list: its flag may be repeated, which joins the values by commas.
    many: bool = False


def cleaned(text: str) -> str:
    """The value without a line end after it and a byte order mark before it, which values from files have: secrets that
    are mounted or injected, and env files with CRLF."""
    return text.removeprefix("\ufeff").rstrip("\r\n")


TRUE = ("1", "t", "T", "TRUE", "true", "True")
FALSE = ("0", "f", "F", "FALSE", "false", "False")


def parse_bool(text: str) -> bool:
    if text in TRUE:
        return True
    if text in FALSE:
        return False
    raise ValueError(text)


# Seconds per unit; both signs of micro are in use, as in Go's time.ParseDuration, which has no days.
UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
PART = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h|d)")
# Go keeps a duration in 64 bits of nanoseconds, which is about 292 years.
LONGEST = float(2**63 - 1) / 1e9


def parse_duration(text: str) -> float:
    """Seconds of a duration such as 100000h, 1h30m, 30d or -1.5s; only zero may go without a unit."""
    sign, rest = (-1.0, text[1:]) if text[:1] == "-" else (1.0, text.removeprefix("+"))
    if rest == "0":
        return 0.0
    seconds, end = 0.0, 0
    while part := PART.match(rest, end):
        seconds += float(part[1]) * UNITS[part[2]]
        end = part.end()
    if end == 0 or end < len(rest) or seconds > LONGEST:
        raise ValueError(text)
    return sign * seconds


def parse_seconds(text: str) -> float:
    plain = re.fullmatch(r"[0-9]+(\.[0-9]*)?|\.[0-9]+", text)
    seconds = float(text) if plain else parse_duration(text)
    if seconds < 0 or not math.isfinite(seconds) or seconds > LONGEST:
        raise ValueError(text)
    return seconds


def parse_positive_seconds(text: str) -> float:
    seconds = parse_seconds(text)
    if seconds == 0:
        raise ValueError(text)
    return seconds


def parse_whole(text: str, least: int, most: int) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text) or not least <= int(text) <= most:
        raise ValueError(text)
    return int(text)


def parse_host(host: str) -> str:
    """A name that a resolver can be asked for, in ASCII (RFC 3490 ToASCII), or an address as it is.

    RFC 1035 2.3.4: labels of 1 to 63 bytes, 253 in all with dots between them; one more dot makes the name absolute.
    """
    if ":" in host:
        return host  # IPv6, checked between its brackets
    name = host if host.isascii() else host.encode("idna").decode()
    # Beyond ASCII there are letters that IDNA turns into delimiters, such as a full-width solidus.
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?", name) or len(name.rstrip(".")) > 253:
        raise ValueError(host)
    return name


def parse_listen(text: str) -> Address:
    host, colon, port = text.rpartition(":")
    if not colon:
        raise ValueError(text)
    return Address(parse_server(f"{host}:1").host if host else "", parse_whole(port, 0, 65535))


def parse_exit(text: str) -> Address | BuiltIn:
    if re.fullmatch(r"[a-z]+:", text):
        return BuiltIn(text[:-1])
    return parse_server(text)


def parse_server(text: str) -> Address:
    host, port = parse_host_port(text)
    return Address(parse_host(host), port)


def parse_authority(text: str) -> str:
    """A name in ASCII, for that is what the field carries."""
    host, port = split_authority(text)
    name = parse_server(f"[{host}]:1" if ":" in host else f"{host}:1").host
    return join_host_port(name, port) if port else join_host_port(name, 1).removesuffix(":1")


def split_authority(text: str) -> tuple[str, int | None]:
    """The host, an IPv6 address without its brackets, and the port if there is one."""
    if text.endswith("]") or ":" not in text:
        return parse_host_port(f"{text}:1")[0], None
    return parse_host_port(text)


def parse_login(text: str) -> Login:
    user, colon, password = text.partition(":")
    if not colon or not user or user != user.strip() or not is_presentable(text):
        raise ValueError("no user:password")
    if text[0] == text[-1] and text[0] in "'\"":  # Docker's env files keep quotes
        raise ValueError("quoted")
    return Login(user, password)


def is_presentable(text: str) -> bool:
    """Whether a user or password can be sent: RFC 7617 section 2 forbids control characters, and surrogates, which
    stand for bytes that were no UTF-8, are no characters."""
    return not re.search(r"[\x00-\x1f\x7f\ud800-\udfff]", text)


def parse_networks(text: str) -> tuple[Network, ...]:
    return tuple(ipaddress.ip_network(part.strip()) for part in text.split(","))


def parse_names(text: str) -> tuple[str, ...]:
    """In lower case and without a dot at the end, as names are compared (RFC 4343)."""
    names = tuple(parse_host(part.strip()).lower().removesuffix(".") for part in text.split(","))
    if any(":" in name for name in names):
        raise ValueError(text)
    return names


def parse_namespace(text: str) -> str:
    if not re.fullmatch(r"[a-zA-Z_:][a-zA-Z0-9_:]*", text):
        raise ValueError(text)
    return text


def parse_path(text: str) -> str:
    if not text or not text.isprintable():
        raise ValueError(text)
    return text


def choice(*words: str) -> Kind[str]:
    def parse(text: str) -> str:
        if text.lower() not in words:
            raise ValueError(text)
        return text.lower()

    return Kind("|".join(words), "one of " + ", ".join(words), parse)


BOOL = Kind("BOOL", f"one of {' '.join(TRUE)} or {' '.join(FALSE)}", parse_bool)
# As the original reads DISABLE_ACCESS_LOGGING: whatever is written there switches off.
OFF_IF_SET = Kind("TEXT", "anything, which means off", lambda _text: False)
SECONDS = Kind("SECONDS", "seconds, as 10 or 0.5, or a duration such as 10s, 1m30s or 2d", parse_seconds)
POSITIVE_SECONDS = Kind("SECONDS", f"more than 0 {SECONDS.form}", parse_positive_seconds)
PORT = Kind("PORT", "a port number from 0 to 65535", lambda text: parse_whole(text, 0, 65535))
COUNT = Kind("N", "a whole number from 1 to 999999999", lambda text: parse_whole(text, 1, 999_999_999))
# More would share no core, and a slip of the finger would take the machine.
WORKERS = Kind("N", "a whole number from 1 to 256", lambda text: parse_whole(text, 1, 256))
FILE = Kind("FILE", "the path of a file", parse_path)
LISTEN = Kind("[HOST]:PORT", "[host]:port, such as 127.0.0.1:18080, [::1]:18080 or :18080", parse_listen)
LISTEN_PORT = Kind(PORT.metavar, PORT.form, lambda text: Address("", PORT.parse(text)))
SERVER = Kind("HOST:PORT", "host:port without a scheme, such as pog.example.com:443 or [::1]:8080", parse_server)
OPTIONAL_EXIT: Kind[Address | BuiltIn | None] = Kind("HOST:PORT", SERVER.form, parse_exit)
PATH = Kind("PATH", "the path of a file", parse_path)
LOGIN = Kind("USER:PASSWORD", "user:password, without quotes and control characters", parse_login, secret=True)
NETWORKS = Kind("CIDR,...", "networks separated by commas, such as 127.0.0.0/8,::1/128", parse_networks, many=True)
NAMES = Kind(
    "NAME,...", "host names separated by commas, without ports, such as client,proxy.example", parse_names, many=True
)
PINS = Kind(
    "PIN,...",
    "the SHA-256 of a public key as sha256//BASE64, such as `pog server` prints at its start",
    lambda text: tuple(parse_pin(part.strip()) for part in text.split(",")),
    many=True,
)
NAMESPACE = Kind("PREFIX", "a metric name prefix of letters, digits, _ and :", parse_namespace)
AUTHORITY = Kind(
    "HOST[:PORT]", "host or host:port without a scheme, such as pog.example.com, [::1] or [::1]:443", parse_authority
)
