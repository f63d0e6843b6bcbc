"""The connections of all users, and what they share."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

from pog.client.connection import UserConnection
from pog.client.listener import Listener
from pog.errors import Failure, FailureKind, Refused

if TYPE_CHECKING:
    from pog.auth.check import Authenticator
    from pog.client.page_answer import Pages
    from pog.config.client_settings import ClientSettings
    from pog.observe.tunnels import TunnelObserver
    from pog.tunnel.request import Exit

# Connections beyond the tunnels: requests on their way in, answers on their way out, pages.
_BESIDE_TUNNELS = 128
# Connections to the server, listeners, the standard streams, lookups of names.
_OTHER_DESCRIPTORS = 256
# What closes right now needs a turn of the event loop, not seconds.
_CLOSING = 1.0


class Connections:
    """Made once per client, in its event loop."""

    def __init__(
        self,
        settings: ClientSettings,
        exit: Exit,
        pages: Pages,
        authenticator: Authenticator,
        observer: TunnelObserver,
    ) -> None:
        self.loop: asyncio.AbstractEventLoop = asyncio.get_running_loop()
        self.settings = settings
        self.exit = exit
        self.pages = pages
        self.authenticator = authenticator
        self.observer = observer
        limit = min(settings.max_tunnels + _BESIDE_TUNNELS, _descriptors())
        self.listener = Listener(lambda: UserConnection(self), limit, settings.head_timeout)
        self._connections: set[UserConnection] = set()
        self._empty = asyncio.Event()
        self._empty.set()
        self.draining = False

    def entered(self, connection: UserConnection) -> None:
        self._connections.add(connection)
        self._empty.clear()
        self.listener.entered()

    def left(self, connection: UserConnection) -> None:
        self._connections.discard(connection)
        self.listener.left()
        if not self._connections:
            self._empty.set()

    def check_room(self) -> None:
        """Raises Refused when there are as many tunnels as there may be; the one that asks counts already."""
        tunnels = self.observer.tunnels
        if len(tunnels) + tunnels.opening > self.settings.max_tunnels:
            text = f"{self.settings.max_tunnels} tunnels are open or being opened, the limit (MAX_TUNNELS)"
            raise Refused(Failure(FailureKind.LIMIT, text))

    async def drain(self, seconds: float) -> int:
        """Lets tunnels end for so long, then ends them; gives the number of those that were cut."""
        self.draining = True
        for connection in [*self._connections]:
            if connection.is_idle:
                connection.close()
        if await self._left_within(seconds):
            return 0
        cut = len(self._connections)
        for connection in [*self._connections]:
            connection.close()
        await self._left_within(_CLOSING)
        return cut

    async def _left_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._empty.wait()
        except TimeoutError:
            return False
        return True


def _descriptors() -> int:
    """How many connections the process has descriptors for; where there is no telling, any number."""
    try:
        import resource
    except ImportError:
        return sys.maxsize
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return sys.maxsize if limit == resource.RLIM_INFINITY else limit - min(_OTHER_DESCRIPTORS, limit // 2)
