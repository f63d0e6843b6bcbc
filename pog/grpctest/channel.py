"""grpclib's channel, to a server that `serve` has started."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grpclib.client import Channel

from pog.grpctest.watched import Watched

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable

    from grpclib.protocol import H2Protocol

    from pog.grpctest.leftovers import Live

    Connect = Callable[[Callable[[], Watched[H2Protocol]]], Awaitable[object]]


class WatchedChannel(Channel):
    """A channel whose connections are made by `connect` and are in `live` while they are open."""

    def __init__(self, host: str, port: int, tls: ssl.SSLContext | None, connect: Connect, live: Live) -> None:
        super().__init__(host, port, ssl=tls)
        self._connect = connect
        self._live = live

    async def _create_connection(self) -> H2Protocol:
        """What grpclib calls for its first connection, and for another when that is lost."""
        watched = Watched(self._protocol_factory(), self._live, "a connection of the channel")
        await self._connect(lambda: watched)
        return watched.inner
