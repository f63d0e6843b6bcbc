"""Where a client listens for programs: the grammar of CLIENT_LISTEN. [pure]

    [host]:port     as in Go; ":18080" is every address of this machine, IPv4 and IPv6
    unix:/path      a Unix domain socket
    https://...     either of them with TLS; http:// says that it is without

Several are joined by commas.
"""

from __future__ import annotations

from dataclasses import dataclass

from pog.config.parsers import Kind, parse_listen
from pog.net.address import Address, UnixPath


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One place to listen at; with `tls` it is an HTTPS proxy."""

    at: Address | UnixPath
    tls: bool = False

    def __str__(self) -> str:
        return f"https://{self.at}" if self.tls else str(self.at)


def parse_endpoints(text: str) -> tuple[Endpoint, ...]:
    """Raises ValueError for what is malformed, and for what is named twice."""
    endpoints = tuple(_parse(part.strip()) for part in text.split(","))
    fixed = [each.at for each in endpoints if not (isinstance(each.at, Address) and each.at.port == 0)]
    if len(set(fixed)) < len(fixed):
        raise ValueError(text)
    return endpoints


def _parse(text: str) -> Endpoint:
    tls = text.startswith("https://")
    place = text.removeprefix("https://" if tls else "http://").removesuffix("/")
    if place.startswith("unix:"):
        return Endpoint(UnixPath(_path(text.partition("unix:")[2])), tls)
    return Endpoint(parse_listen(place), tls)


def _path(path: str) -> str:
    if not path.startswith("/") or "\0" in path:
        raise ValueError(path)
    return path


ENDPOINTS = Kind(
    "[HOST]:PORT,...",
    "[host]:port or unix:/path, several joined by commas, such as 127.0.0.1:18080,unix:/run/pog.sock; https:// before"
    " one is TLS",
    parse_endpoints,
    many=True,
)
