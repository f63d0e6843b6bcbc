"""What goes wrong between a client under test and its server."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from grpclib.exceptions import GRPCError

# RFC 9113 section 7.
_NO_ERROR = 0


class Connection(Protocol):
    """A connection that faults can happen to."""

    def soon(self, action: Callable[..., None], *arguments: object) -> None:
        """Does it now, or in the loop's thread where this is another one."""

    def go_away(self, code: int, last_stream: int | None) -> None:
        """Sends GOAWAY to the client."""

    def reset(self) -> None:
        """Resets both ends."""


@dataclass(slots=True, kw_only=True, eq=False)
class Faults:
    """Handed to `serve` or `front`; without values it does nothing until a method is called or a value is set.

    `latency` and `trailers_only` may be changed at any time. The other values are those of new connections. `go_away`
    and `reset` may be called from any thread.
    """

    latency: float = 0.0
    """Seconds that every byte is on its way, in either direction."""

    reset_after: int | None = None
    """A connection is reset (RST in TCP) after this number of bytes to the client."""

    max_concurrent_streams: int | None = None
    """What the server announces as MAX_CONCURRENT_STREAMS."""

    window: int | None = None
    """Bytes that the client may send in one stream, ever: 0 is a window that never opens."""

    trailers_only: GRPCError | None = None
    """Every call ends with this status, in an answer that is trailers alone, and reaches no service."""

    connections: int = field(default=0, init=False)
    """Connections that clients have made so far."""

    _links: set[Connection] = field(default_factory=set, init=False, repr=False)
    _waiters: list[asyncio.Future[None]] = field(default_factory=list, init=False, repr=False)

    def go_away(self, code: int = _NO_ERROR, *, last_stream: int | None = None) -> None:
        """Sends GOAWAY on every connection that is open.

        Streams up to `last_stream` go on, by default all that there are; those above it reach the server no more.
        """
        for link in [*self._links]:
            link.soon(link.go_away, code, last_stream)

    def reset(self) -> None:
        """Resets every connection that is open."""
        for link in [*self._links]:
            link.soon(link.reset)

    async def connected(self, count: int) -> None:
        """Waits until clients have made this number of connections in all. For the loop of the server."""
        while self.connections < count:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            await waiter

    def _connected(self, link: Connection) -> None:
        self.connections += 1
        self._links.add(link)
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)
