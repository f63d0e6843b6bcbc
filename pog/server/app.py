"""The one ASGI app: calls with content-type application/grpc go to grpclib's handlers, everything else to the pages."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from pog.config.server_settings import ServerSettings
from pog.config.settings import load
from pog.errors import SettingsError
from pog.observe.messages import set_up_logging
from pog.process.memory import tune_memory
from pog.server.asgi import in_origin_form
from pog.server.dispatch import CallDispatcher, EngineApp, lifespan, not_found
from pog.server.openness import HERE, warn_of_openness
from pog.server.pages import pages
from pog.server.service import Server

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.types import Receive, Scope, Send

    from pog.http2.session import Session
    from pog.http2.stream import Stream


class App(EngineApp):
    """The ASGI app of one server. Without settings it reads them from the environment at its start, so that
    `hypercorn pog.server:app` needs nothing else."""

    _dispatcher: CallDispatcher
    _pages: Starlette | None

    def __init__(self, settings: ServerSettings | None = None, *, warn: bool = True) -> None:
        self._settings = settings
        self._warn = warn
        self._server: Server | None = None

    @property
    def server(self) -> Server:
        """Made at first use, from the settings as they are then. Raises SettingsError."""
        if self._server is None:
            tune_memory()
            self._server = Server(self._settings or _from_environment())
            mux = self._server.settings.grpc_and_http_mux
            self._dispatcher = CallDispatcher(self._server.mapping, connect=mux)
            self._pages = pages(self._server) if mux else None
            if self._settings is None:
                settings = self._server.settings
                HERE.on_added = lambda place: warn_of_openness(settings, [place])
            self._server.start(warn=self._warn)
        return self._server

    @property
    def portable(self) -> bool:
        return self.server.settings.engine == "portable"

    @property
    def dispatcher(self) -> CallDispatcher:
        _ = self.server
        return self._dispatcher

    @property
    def drain_timeout(self) -> float:
        return self.server.settings.drain_timeout

    def connected(self, session: Session) -> None:
        self.server.metrics.session_opened(session)

    def refuses(self, stream: Stream) -> bool:
        return self.server.draining and dict(stream.headers or ()).get(":path") == self.server.tunnel_path

    async def drain(self) -> None:
        await self.server.drain()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await lifespan(receive, send, lambda: self.server, self._end)
            return
        _ = self.server  # for an ASGI server without lifespan
        scope = in_origin_form(scope)
        if scope["type"] == "http" and self._dispatcher.accepts(scope):
            await self._dispatcher(scope, receive, send)
        elif scope["type"] == "http" and self._pages is not None:
            await self._pages(scope, receive, send)
        elif scope["type"] == "http":
            await not_found(send)
        else:
            await send({"type": "websocket.close", "code": 1000})

    def _end(self) -> None:
        self.server.draining = True
        self.server.close()


def _from_environment() -> ServerSettings:
    """For a process that another command started. Logging that it has set up stays as it is."""
    settings = load(ServerSettings, os.environ, {})
    if settings.tls:
        problem = "has no effect where another command listens; `hypercorn` takes --certfile and --keyfile"
        raise SettingsError("SERVER_TLS_CERT" if settings.tls_cert else "SERVER_TLS_SELF_SIGNED", problem)
    if not logging.getLogger().handlers:
        set_up_logging(settings.log_level, settings.log_format)
        logging.getLogger("hypercorn").propagate = False  # the command prints its own
    return settings


app = App()
