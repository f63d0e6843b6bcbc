"""Where a tunnel leads and where a socket listens: host and port, and how they are written. [pure]"""

from __future__ import annotations

import functools
import ipaddress
import re
from dataclasses import dataclass
from typing import Literal

Network = Literal["tcp", "udp"]

# What may stand in a name that is resolved: RFC 1123 letters, digits, hyphen and dot, the underscore that people use,
# and what is printable beyond ASCII, which the resolver encodes by IDNA. No white space, no control, no delimiter of a
# URI.
_NAME = re.compile(r"[A-Za-z0-9._\-\u0080-\U0010ffff]{1,255}")

# A name of 255 bytes, a colon and a port, with something to spare; an IPv6 scope could be of any length.
LONGEST = 300


def parse_host_port(text: str) -> tuple[str, int]:
    """Host (an IPv6 address without its brackets) and port of `name:port`, `1.2.3.4:port` or `[::1]:port`.

    Raises ValueError, whose text says what is wrong. User information is refused: RFC 9110 7.1 has none in a CONNECT.
    """
    if len(text) > LONGEST:
        raise ValueError(f"expected at most {LONGEST} characters")
    host, colon, port_text = text.rpartition(":")
    if not colon or not host:
        raise ValueError("expected host:port")
    if not (port_text.isascii() and port_text.isdigit() and len(port_text) <= 5 and 0 < int(port_text) < 65536):
        raise ValueError("expected a port from 1 to 65535")
    if host.startswith("["):
        if not host.endswith("]"):
            raise ValueError("expected [IPv6]:port")
        if not _is_ipv6(host[1:-1]):
            raise ValueError("expected an IPv6 address between the brackets")
        return host[1:-1], int(port_text)
    if not _is_name(host):
        raise ValueError("expected a name or an address before the port (IPv6 in brackets)")
    return host, int(port_text)


def _is_name(host: str) -> bool:
    return _NAME.fullmatch(host) is not None and host.isprintable()


def _is_ipv6(host: str) -> bool:
    """The module takes any characters for a scope (RFC 4007); they would stand in logs as they are."""
    try:
        address = ipaddress.IPv6Address(host)
    except ValueError:
        return False
    return address.scope_id is None or _is_name(address.scope_id)


def join_host_port(host: str, port: int) -> str:
    """`host:port`, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a tunnel leads, parsed once. `host` is a name, or an address without brackets."""

    host: str
    port: int
    network: Network = "tcp"

    def __str__(self) -> str:
        return join_host_port(self.host, self.port)


@functools.lru_cache(1024)
def parse_destination(text: str) -> Destination:
    """What `host:port` in a CONNECT request or on the wire means. Raises ValueError, whose text says what is wrong."""
    return Destination(*parse_host_port(text))


def destination_of(host: str, port: int) -> Destination:
    """The destination whose host and port were given apart (SOCKS); IPv6 may stand in brackets.

    Raises ValueError, whose text says what is wrong.
    """
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not (_is_ipv6(bare) or (bare is host and _is_name(host))):
        raise ValueError("expected a name or an address")
    if not 0 < port < 65536:
        raise ValueError("expected a port from 1 to 65535")
    return Destination(bare, port)


@dataclass(frozen=True, slots=True, order=True)
class Address:
    """Where to listen or connect. An empty host means every address of this machine, IPv4 and IPv6."""

    host: str
    port: int

    def __str__(self) -> str:
        return join_host_port(self.host, self.port)

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can connect to it."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


@dataclass(frozen=True, slots=True, order=True)
class UnixPath:
    """Where to listen on a Unix domain socket."""

    path: str

    def __str__(self) -> str:
        return f"unix:{self.path}"

    @property
    def is_loopback(self) -> bool:
        """Only this machine can connect to it."""
        return True


def is_local(peer: tuple[str, int] | tuple[str, int, int, int] | None) -> bool:
    """Whether a connection's other end is on this machine: a loopback address, or none (a Unix socket)."""
    return not peer or Address(peer[0].removeprefix("::ffff:"), 0).is_loopback


def peer_text(peer: tuple[str, int] | tuple[str, int, int, int] | None) -> str:
    """The address of a connection's other end as logs show it; "-" where there is none (a Unix socket)."""
    return join_host_port(peer[0].removeprefix("::ffff:"), peer[1]) if peer else "-"
