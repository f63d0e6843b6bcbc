"""Connects to a destination: resolve, judge every address, race what is left, and say exactly what failed."""

from __future__ import annotations

import asyncio
import errno
import functools
import os
import socket
from typing import TYPE_CHECKING, cast

import aiohappyeyeballs

from pog.errors import DialError, DialKind
from pog.net.address import parse_host_port
from pog.process.timers import Limit

if TYPE_CHECKING:
    from pog.net.egress import EgressPolicy

# RFC 8305 8: the recommended Connection Attempt Delay, seconds.
_ATTEMPT_DELAY = 0.25

# Addresses whose judgement is remembered; about 200 bytes each.
_REMEMBERED = 1024

_AddrInfo = tuple[socket.AddressFamily, socket.SocketKind, int, str, tuple[str, int] | tuple[str, int, int, int]]


class Held(asyncio.Protocol):
    """A new connection before its relay: a destination may speak first, and `early` is what it said.

    It cannot be held unread from the beginning: uvloop reads once connection_made returns, paused there or not.
    """

    def __init__(self) -> None:
        self.early = b""
        self.lost: Exception | None = None
        self.eof = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self.early += data
        self.transport.pause_reading()

    def eof_received(self) -> bool:
        self.eof = True
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = exc or ConnectionResetError("closed")


class Dialler:
    """Dials destinations under one policy; `timeout` is in seconds and covers resolving and connecting."""

    def __init__(self, policy: EgressPolicy, timeout: float) -> None:
        # Judged once: programs open many tunnels to few places.
        self._refusal = functools.lru_cache(_REMEMBERED)(policy.refusal)
        self._timeout = timeout

    async def dial(self, host_port: str) -> Held:
        """An open connection. Raises DialError."""
        try:
            host, port = parse_host_port(host_port)
        except ValueError as error:
            raise DialError(DialKind.BAD_ADDRESS, host_port, str(error)) from None
        try:
            with Limit(self._timeout):
                found = _literal(host, port) or await self._resolve(host_port, host, port)
                return await self._connect(host_port, self._permitted(host_port, found))
        except TimeoutError:
            raise DialError(DialKind.TIMEOUT, host_port, f"nothing within {self._timeout:g} s") from None

    async def _resolve(self, host_port: str, host: str, port: int) -> list[_AddrInfo]:
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:  # UnicodeError: a label that IDNA cannot encode
            raise DialError(DialKind.DNS, host_port, _strerror(error)) from None
        return [info for info in found if info[0] in (socket.AF_INET, socket.AF_INET6)]  # type: ignore[misc]

    def _permitted(self, host_port: str, found: list[_AddrInfo]) -> list[_AddrInfo]:
        """The addresses that may be dialled. A name with one forbidden address keeps its others."""
        refusals: list[str] = []
        permitted = []
        for info in found:
            if refusal := self._refusal(info[4][0]):
                refusals.append(refusal)
            else:
                permitted.append(info)
        if not permitted:
            kind = DialKind.DENIED if refusals else DialKind.DNS
            raise DialError(kind, host_port, refusals[0] if refusals else "no address")
        return permitted

    async def _connect(self, host_port: str, addresses: list[_AddrInfo]) -> Held:
        loop = asyncio.get_running_loop()
        try:
            if len(addresses) == 1:
                _, held = await loop.create_connection(Held, *addresses[0][4][:2])
            else:
                sock = await aiohappyeyeballs.start_connection(addresses, happy_eyeballs_delay=_ATTEMPT_DELAY)
                _, held = await loop.create_connection(Held, sock=sock)
        except (OSError, RuntimeError) as error:  # RuntimeError: uvloop's wording of some failures
            raise DialError(_kind(error), host_port, _strerror(error)) from None
        return held


@functools.lru_cache(_REMEMBERED)
def _literal(host: str, port: int) -> list[_AddrInfo]:
    """What the resolver would say of an address; it would ask a thread."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except (OSError, ValueError):  # ValueError: NUL
            continue
        return [(family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port))]
    return []


def _kind(error: Exception) -> DialKind:
    number = error.errno if isinstance(error, OSError) else None
    if number == errno.ECONNREFUSED or "refused" in str(error):
        return DialKind.REFUSED
    if number == errno.ETIMEDOUT:
        return DialKind.TIMEOUT
    return DialKind.UNREACHABLE


def _strerror(error: Exception) -> str:
    """The system's words without the address, which the error names already."""
    if isinstance(error, OSError) and not isinstance(error, socket.gaierror) and error.errno:
        return os.strerror(error.errno)
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
