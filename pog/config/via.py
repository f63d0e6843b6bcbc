"""A proxy between a client and its server, and the variables of the system that name one. [pure]

    http://[USER:PASSWORD@]HOST[:PORT]      by CONNECT, RFC 9110 section 9.3.6
    socks5://[USER:PASSWORD@]HOST[:PORT]    by RFC 1928 and 1929; socks5h:// is the same
    direct                                  none, whatever HTTPS_PROXY says

The proxy resolves the server's name. User and password may be written with %XX.

HTTPS_PROXY and NO_PROXY are read as Go does (golang.org/x/net/http/httpproxy), since the Go original's client goes by
them: names in capitals win, `host:port` alone is http://, and a server on this machine is reached without a proxy.
NO_PROXY is a list of `*`, `name` (and all below it), `.name` (all below it), addresses and networks; names and
addresses may have a port.
"""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING
from urllib.parse import unquote

from pog.config.exits import Login, NoVia, Scheme, Via
from pog.config.parsers import Kind, is_presentable, parse_server
from pog.config.rules import literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pog.net.address import Address

_SCHEMES: dict[str, tuple[Scheme, int]] = {
    "http": ("http", 80),
    "socks5": ("socks5", 1080),
    "socks5h": ("socks5", 1080),
}
_FORM = "http:// or socks5:// with [user:password@]host:port, such as http://proxy.example:3128, or direct"
# RFC 1929 section 2: lengths are one byte.
_LONGEST_SOCKS = 255


def parse_via(text: str) -> Via | NoVia:
    """Raises ValueError."""
    if text == "direct":
        return NoVia()
    word, separator, rest = text.partition("://")
    if not separator or word.lower() not in _SCHEMES:
        raise ValueError("no proxy of a known kind")
    scheme, port = _SCHEMES[word.lower()]
    # The last @: a password may hold others that were not written as %40.
    user_info, at, place = rest.removesuffix("/").rpartition("@")
    if not re.search(r":[0-9]+$", place):
        place = f"{place}:{port}"
    return Via(scheme, parse_server(place), _login(user_info, scheme) if at else None)


def _login(text: str, scheme: Scheme) -> Login:
    user, _, password = text.partition(":")
    login = Login(unquote(user), unquote(password))
    if not login.user or not is_presentable(login.user + login.password):
        raise ValueError("no user")
    if scheme == "http" and ":" in login.user:  # RFC 7617 section 2
        raise ValueError("a colon in the user's name")
    if scheme == "socks5" and not all(
        0 < len(each.encode()) <= _LONGEST_SOCKS for each in (login.user, login.password)
    ):
        raise ValueError("too long, or empty")
    return login


VIA: Kind[Via | NoVia] = Kind("URL", _FORM, parse_via, secret=True)
OPTIONAL_VIA: Kind[Via | NoVia | None] = VIA


def chosen(
    given: Via | NoVia | None, server: Address, listen: Iterable[Address], environ: Mapping[str, str]
) -> tuple[Via | None, str]:
    """The proxy on the way to `server`, and what the log should say of it, if anything. `given` is what the settings of
    the exit say, `listen` where this client listens itself, which a variable may well name."""
    if given is not None:
        return (given, "") if isinstance(given, Via) else (None, "")
    name, text = _variable("HTTPS_PROXY", environ)
    if not text or _is_loopback(server.host):
        return None, ""
    try:
        via = parse_via(text if "://" in text else f"http://{text}")
    except ValueError:
        return None, f"{name} is not used: it must be {_FORM}"
    assert isinstance(via, Via)
    if any(_is_same(via.address, each) for each in listen):
        return None, f"{name} is this client itself, so {server} is reached without it"
    no_name, no_proxy = _variable("NO_PROXY", environ)
    if bypassed(no_proxy, server):
        return None, f"{server} is reached directly: {no_name} has it, so {name} does not count"
    return via, f"{server} is reached through {via}, as {name} says"


def _variable(name: str, environ: Mapping[str, str]) -> tuple[str, str]:
    """Its name as it is written there, and its value."""
    for each in (name, name.lower()):
        if value := environ.get(each, "").strip():
            return each, value
    return name, ""


def _is_loopback(host: str) -> bool:
    address = literal(host)
    return host.lower().removesuffix(".") == "localhost" if address is None else address.is_loopback


def _is_same(proxy: Address, listening: Address) -> bool:
    """Whether a proxy on this machine is what listens there."""
    if proxy.port != listening.port:
        return False
    everywhere = listening.host in ("", "0.0.0.0", "::")
    return proxy.host == listening.host or (_is_loopback(proxy.host) and (everywhere or listening.is_loopback))


def bypassed(no_proxy: str, server: Address) -> bool:
    """Whether NO_PROXY names the server."""
    return any(_matches(part, server) for part in re.split(r"[\s,]+", no_proxy.lower()) if part)


def _matches(part: str, server: Address) -> bool:
    if part == "*":
        return True
    address = literal(server.host)
    try:
        network = ipaddress.ip_network(part.strip("[]"), strict=False)
        return address is not None and address.version == network.version and address in network
    except ValueError:
        pass
    name, colon, port = part.rpartition(":")
    if colon and port.isdecimal():
        return int(port) == server.port and _matches(name, server)
    if address is not None:
        return False
    below, host = part.removeprefix("*").removesuffix("."), server.host.lower().removesuffix(".")
    return host.endswith(below) if below.startswith(".") else host == below or host.endswith(f".{below}")
