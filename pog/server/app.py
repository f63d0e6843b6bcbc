"""The one ASGI app: calls with content-type application/grpc go to grpclib's handlers, everything else to the pages."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, cast

from grpclib.encoding.proto import ProtoCodec
from grpclib.events import _DispatchServerEvents
from grpclib.server import request_handler

from pog.errors import SettingsError
from pog.server.asgi import STREAM
from pog.server.bridge import AsgiStream, request_headers
from pog.server.core import Core
from pog.server.pages import pages
from pog.settings import ServerSettings, load

if TYPE_CHECKING:
    from grpclib.protocol import Stream
    from starlette.applications import Starlette

    from pog.server.bridge import Message, Receive, Send


class App:
    """Serves one server. Without settings it reads them from the environment when the ASGI server starts it, so that
    `hypercorn pog.server:app` needs nothing else."""

    def __init__(self, settings: ServerSettings | None = None) -> None:
        self._settings = settings
        self._core: Core | None = None
        self._pages: Starlette | None = None
        self._codec = ProtoCodec()
        self._dispatch = _DispatchServerEvents()

    @property
    def core(self) -> Core:
        """What is served; made at first use, from the settings as they are then. Raises SettingsError."""
        if self._core is None:
            self._core = Core(self._settings or load(ServerSettings, os.environ, {}))
            self._pages = pages(self._core)
            self._core.warn_if_open()
        return self._core

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http" and self._is_grpc(scope):
            await self._serve_grpc(scope, receive, send)
        elif scope["type"] == "http":
            core_pages = cast("Starlette", self._pages if self.core else None)
            await core_pages(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1000})

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                try:
                    _ = self.core
                except SettingsError as error:
                    await send({"type": "lifespan.startup.failed", "message": str(error)})
                    return
                await send({"type": "lifespan.startup.complete"})
            else:
                self.core.draining = True
                self.core.close()
                await send({"type": "lifespan.shutdown.complete"})
                return

    def _is_grpc(self, scope: Message) -> bool:
        """A gRPC content type, or a path where only calls go: grpclib answers those that are none with 405 or 415."""
        content_type = next((value for name, value in scope["headers"] if name == b"content-type"), b"")
        return content_type.startswith(b"application/grpc") or scope["path"] in self.core.mapping

    async def _serve_grpc(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["http_version"] not in ("2", "3"):
            # As grpc-go's handler: there are no trailers over HTTP/1.1 that clients agree on.
            await send({"type": "http.response.start", "status": 505, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body", "body": b""})
            return
        if own := scope.get("extensions", {}).get(STREAM):
            await self._call(own, own.headers, own.release)
        else:
            stream = AsgiStream(scope, receive, send)
            await self._call(cast("Stream", stream), request_headers(scope), stream.release)

    async def _call(self, stream: Stream, headers: list[tuple[str, str]], release: Any) -> None:
        """Serves one call on a stream with grpclib's surface, whatever is below it."""
        await request_handler(
            self.core.mapping, stream, headers, self._codec, None, self._dispatch, release_stream=release
        )


app = App()
