"""The one ASGI app: calls with content-type application/grpc go to grpclib's handlers, everything else to the pages."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from pog.config.settings import ServerSettings, load
from pog.observe.messages import set_up_logging
from pog.process.memory import tune_memory
from pog.server.asgi import in_origin_form
from pog.server.dispatch import Calls, Served, lifespan, nothing_here
from pog.server.pages import pages
from pog.server.service import Core, warn_if_open

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.types import Receive, Scope, Send

    from pog.http2.session import Session
    from pog.http2.stream import Stream


class App(Served):
    """Serves one server. Without settings it reads them from the environment when the ASGI server starts it, so that
    `hypercorn pog.server:app` needs nothing else."""

    _calls: Calls
    _pages: Starlette | None

    def __init__(self, settings: ServerSettings | None = None) -> None:
        self._settings = settings
        self._core: Core | None = None

    @property
    def core(self) -> Core:
        """What is served; made at first use, from the settings as they are then. Raises SettingsError."""
        if self._core is None:
            tune_memory()
            self._core = Core(self._settings or _from_environment())
            mux = self._core.settings.grpc_and_http_mux
            self._calls = Calls(self._core.mapping, connect=mux)
            self._pages = pages(self._core) if mux else None
            if self._settings is None:
                warn_if_open(self._core.settings, None)
            self._core.start()
        return self._core

    @property
    def portable(self) -> bool:
        return self.core.settings.engine == "portable"

    @property
    def calls(self) -> Calls:
        _ = self.core
        return self._calls

    @property
    def drain_timeout(self) -> float:
        return self.core.settings.drain_timeout

    def connected(self, session: Session) -> None:
        self.core.metrics.session_opened(session)

    def refuses(self, stream: Stream) -> bool:
        return self.core.draining and dict(stream.headers or ()).get(":path") == self.core.tunnel_path

    async def drain(self) -> None:
        await self.core.drain()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await lifespan(receive, send, lambda: self.core, self._end)
            return
        _ = self.core  # for an ASGI server without lifespan
        scope = in_origin_form(scope)
        if scope["type"] == "http" and self._calls.takes(scope):
            await self._calls(scope, receive, send)
        elif scope["type"] == "http" and self._pages is not None:
            await self._pages(scope, receive, send)
        elif scope["type"] == "http":
            await nothing_here(send)
        else:
            await send({"type": "websocket.close", "code": 1000})

    def _end(self) -> None:
        self.core.draining = True
        self.core.close()


def _from_environment() -> ServerSettings:
    """When no command of ours started this process; messages go where the one who did has sent them, or as ours do."""
    settings = load(ServerSettings, os.environ, {})
    if not logging.getLogger().handlers:
        set_up_logging(settings.log_level, settings.log_format)
        logging.getLogger("hypercorn").propagate = False  # the command prints its own
    return settings


app = App()
