"""Connects to a destination: resolve, judge every address, race what is left, and say exactly what failed."""

from __future__ import annotations

import asyncio
import errno
import functools
from typing import TYPE_CHECKING, cast

from pog.errors import DialError, FailureKind, LimitReached
from pog.net.connect import connect_socket, strerror
from pog.net.keepalive import keep_alive
from pog.net.resolve import Resolver, is_exhausted
from pog.process.timers import Limit

if TYPE_CHECKING:
    from pog.net.address import Destination
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

    async def dial(self, destination: Destination) -> Held:
        """An open connection. Raises DialError."""
        try:
            with Limit(self._timeout):
                found = await self._resolve(destination)
                return await self._connect(destination, self._permitted(destination, found))
        except TimeoutError:
            raise DialError(FailureKind.TIMEOUT, destination, f"nothing within {self._timeout:g} s") from None

    async def _resolve(self, destination: Destination) -> Found:
        try:
            return await self._resolver.resolve(destination.host, destination.port)
        except LimitReached as error:
            raise DialError(FailureKind.LIMIT, destination, str(error)) from None
        except (OSError, UnicodeError) as error:  # UnicodeError: a label that IDNA cannot encode
            raise DialError(FailureKind.DNS, destination, strerror(error)) from None

    def _permitted(self, destination: Destination, found: Found) -> list[AddrInfo]:
        """The addresses that may be dialled. A name with one forbidden address keeps its others."""
        refusals: list[str] = []
        permitted = []
        for info in found:
            if refusal := self._refusal(info[4][0]):
                refusals.append(refusal)
            else:
                permitted.append(info)
        if not permitted:
            raise DialError(FailureKind.DENIED, destination, refusals[0])
        return permitted

    async def _connect(self, destination: Destination, addresses: list[AddrInfo]) -> Held:
        loop = asyncio.get_running_loop()
        try:
            if len(addresses) == 1 and not any(addresses[0][4][2:]):  # without a scope
                transport, held = await loop.create_connection(Held, *addresses[0][4][:2])
                keep_alive(transport.get_extra_info("socket"))
            else:
                _, held = await loop.create_connection(Held, sock=await connect_socket(addresses))
        except OSError as error:
            raise DialError(_kind(error), destination, strerror(error)) from None
        return held


def _kind(error: OSError) -> FailureKind:
    if is_exhausted(error):
        return FailureKind.LIMIT
    if error.errno == errno.ECONNREFUSED:
        return FailureKind.REFUSED
    if error.errno == errno.ETIMEDOUT:
        return FailureKind.TIMEOUT
    return FailureKind.UNREACHABLE
