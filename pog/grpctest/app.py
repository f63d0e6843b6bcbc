"""Services behind an ASGI app, by the code that serves pog's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pog.server  # noqa: F401  # puts our HTTP/2 into Hypercorn
from pog.server.dispatch import CallDispatcher, EngineApp, lifespan, not_found

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from pog.grpctest.mapping import Mapping


class ServiceApp(EngineApp):
    """CallDispatcher go to the services; there are no pages."""

    portable = False
    drain_timeout = 0.0

    def __init__(self, mapping: Mapping) -> None:
        self._dispatcher = CallDispatcher(mapping.__mapping__())

    @property
    def dispatcher(self) -> CallDispatcher:
        return self._dispatcher

    async def drain(self) -> None:
        """Waits for nothing: at the end of a test the calls are cut."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        match scope["type"]:
            case "lifespan":
                await lifespan(receive, send, lambda: None, lambda: None)
            case "http" if self._dispatcher.accepts(scope):
                await self._dispatcher(scope, receive, send)
            case "http":
                await not_found(send)
            case _:
                await send({"type": "websocket.close", "code": 1000})
