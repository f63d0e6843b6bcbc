"""Connects to a destination: resolve, judge every address, race what is left, and say exactly what failed."""

from __future__ import annotations

import asyncio
import errno
import functools
from typing import TYPE_CHECKING, cast

from pog.errors import DialError, DialKind, LimitReached
from pog.net.address import parse_host_port
from pog.net.connect import connect_socket, strerror
from pog.net.keepalive import keep_alive
from pog.net.resolve import Resolver, is_exhausted
from pog.process.timers import Limit

if TYPE_CHECKING:
    from pog.net.egress import EgressPolicy
    from pog.net.resolve import AddrInfo, Found

# Addresses whose judgement is remembered; about 200 bytes each.
_REMEMBERED = 1024


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

    def __init__(self, policy: EgressPolicy, timeout: float, resolver: Resolver | None = None) -> None:
        # Judged once: programs open many tunnels to few places.
        self._refusal = functools.lru_cache(_REMEMBERED)(policy.refusal)
        self._timeout = timeout
        self._resolver = resolver or Resolver()

    async def dial(self, host_port: str) -> Held:
        """An open connection. Raises DialError."""
        try:
            host, port = parse_host_port(host_port)
        except ValueError as error:
            raise DialError(DialKind.BAD_ADDRESS, host_port, str(error)) from None
        try:
            with Limit(self._timeout):
                found = await self._resolve(host_port, host, port)
                return await self._connect(host_port, self._permitted(host_port, found))
        except TimeoutError:
            raise DialError(DialKind.TIMEOUT, host_port, f"nothing within {self._timeout:g} s") from None

    async def _resolve(self, host_port: str, host: str, port: int) -> Found:
        try:
            return await self._resolver.resolve(host, port)
        except LimitReached as error:
            raise DialError(DialKind.LIMIT, host_port, str(error)) from None
        except (OSError, UnicodeError) as error:  # UnicodeError: a label that IDNA cannot encode
            raise DialError(DialKind.DNS, host_port, strerror(error)) from None

    def _permitted(self, host_port: str, found: Found) -> list[AddrInfo]:
        """The addresses that may be dialled. A name with one forbidden address keeps its others."""
        refusals: list[str] = []
        permitted = []
        for info in found:
            if refusal := self._refusal(info[4][0]):
                refusals.append(refusal)
            else:
                permitted.append(info)
        if not permitted:
            raise DialError(DialKind.DENIED, host_port, refusals[0])
        return permitted

    async def _connect(self, host_port: str, addresses: list[AddrInfo]) -> Held:
        loop = asyncio.get_running_loop()
        try:
            if len(addresses) == 1 and not any(addresses[0][4][2:]):  # without a scope
                transport, held = await loop.create_connection(Held, *addresses[0][4][:2])
                keep_alive(transport.get_extra_info("socket"))
            else:
                _, held = await loop.create_connection(Held, sock=await connect_socket(addresses))
        except OSError as error:
            raise DialError(_kind(error), host_port, strerror(error)) from None
        return held


def _kind(error: OSError) -> DialKind:
    if is_exhausted(error):
        return DialKind.LIMIT
    if error.errno == errno.ECONNREFUSED:
        return DialKind.REFUSED
    if error.errno == errno.ETIMEDOUT:
        return DialKind.TIMEOUT
    return DialKind.UNREACHABLE
