"""Connects to the destination of a tunnel: resolve, judge every address, race what is left, and say what failed.

Both programs can dial: the server for its tunnels, a client for those that go out directly. Policy and limits are
arguments.
"""

from __future__ import annotations

import asyncio
import errno
import functools
from typing import TYPE_CHECKING, Protocol, cast

from pog.errors import DialError, FailureKind, LimitReached
from pog.net.connect import connect_socket, strerror
from pog.net.keepalive import keep_alive
from pog.net.resolve import is_exhausted
from pog.process.timers import Limit

if TYPE_CHECKING:
    from pog.net.address import Destination
    from pog.net.resolve import AddrInfo, Found, Resolver

# Addresses whose judgement is remembered; about 200 bytes each.
_REMEMBERED = 1024


class Policy(Protocol):
    """Which addresses may be dialled."""

    def refusal(self, address: str) -> str | None:
        """Why `address` may not be dialled and what would permit it, or None when it may. Always the same answer."""


class Dialled(asyncio.Protocol):
    """A connection that was just opened, before a relay takes it over with Relay.start.

    Some destinations speak first. A connection cannot be kept unread from its beginning, since uvloop reads once
    connection_made has returned, paused there or not; so `early` is what came until then, at most one piece. `ended`
    says whether the destination has ended its direction, `lost` why the connection is gone, if it is.
    """

    transport: asyncio.Transport

    def __init__(self) -> None:
        self.early = b""
        self.ended = False
        self.lost: Exception | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self.early += data
        self.transport.pause_reading()

    def eof_received(self) -> bool:
        self.ended = True
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = exc or ConnectionResetError("closed")


class Dialler:
    """Dials destinations for one program, from one event loop.

    `timeout` is in seconds and covers resolving and connecting. `end` is the word for this program in the texts of
    errors, which people read at the other end.
    """

    def __init__(self, policy: Policy, timeout: float, resolver: Resolver, end: str = "server") -> None:
        # Judged once: programs open many tunnels to few places.
        self._refusal = functools.lru_cache(_REMEMBERED)(policy.refusal)
        self._timeout = timeout
        self._resolver = resolver
        self._end = end

    async def dial(self, destination: Destination) -> Dialled:
        """An open connection to one of the destination's addresses. Raises DialError.

        1. The name is resolved; an address stands for itself.
        2. Every address is judged. What is dialled afterwards is the address and not the name, so a name that changes
           its answer in between (DNS rebinding) gains nothing.
        3. Those that are permitted are tried, IPv6 and IPv4 in turn (RFC 8305), until one answers.
        """
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
            raise self._limited(destination, str(error)) from None
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

    async def _connect(self, destination: Destination, addresses: list[AddrInfo]) -> Dialled:
        loop = asyncio.get_running_loop()
        try:
            if len(addresses) == 1 and not any(addresses[0][4][2:]):  # without an IPv6 scope
                transport, dialled = await loop.create_connection(Dialled, *addresses[0][4][:2])
                keep_alive(transport.get_extra_info("socket"))
            else:
                _, dialled = await loop.create_connection(Dialled, sock=await connect_socket(addresses))
        except OSError as error:
            if is_exhausted(error):
                raise self._limited(destination, strerror(error)) from None
            kind = _KINDS.get(error.errno or 0, FailureKind.UNREACHABLE)
            raise DialError(kind, destination, strerror(error)) from None
        return dialled

    def _limited(self, destination: Destination, lack: str) -> DialError:
        return DialError(FailureKind.LIMIT, destination, f"the {self._end} lacks resources: {lack}")


_KINDS = {errno.ECONNREFUSED: FailureKind.REFUSED, errno.ETIMEDOUT: FailureKind.TIMEOUT}
