"""From ASGI to grpclib's handlers: dispatches the calls of one mapping, by gRPC and by Connect, for any app."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

from grpclib.events import _DispatchServerEvents
from grpclib.server import request_handler
from h2.exceptions import H2Error

from pog.errors import SettingsError
from pog.process.output import STDERR
from pog.server.bridge import AsgiStream, request_headers
from pog.server.codecs import BinaryCodec
from pog.server.connect_protocol import ConnectDispatcher
from pog.server.validation import normalised, refusal
from pog.wire.content_type import is_grpc

if TYPE_CHECKING:
    from collections.abc import Callable

    from grpclib.const import Handler
    from grpclib.protocol import Stream
    from starlette.types import Receive, Scope, Send

    from pog.http2.fields import Headers
    from pog.http2.session import Session
    from pog.http2.stream import Stream as OwnStream


class EngineApp(ABC):
    """An ASGI app whose HTTP/2 connections pog's engine serves (engine.py); other apps keep Hypercorn's own."""

    @property
    @abstractmethod
    def portable(self) -> bool:
        """Whether to use Hypercorn's own HTTP/2 all the same."""

    @property
    @abstractmethod
    def dispatcher(self) -> CallDispatcher:
        """What answers calls. The engine gives it calls of gRPC directly, not through ASGI."""

    @property
    @abstractmethod
    def drain_timeout(self) -> float:
        """The longest time that `drain` may take, seconds."""

    def connected(self, session: Session) -> None:  # noqa: B027  # optional
        """Called with each new HTTP/2 connection of this app."""

    def refuses(self, stream: OwnStream) -> bool:
        """Whether to refuse a request unprocessed, so that the client may send it elsewhere (RFC 9113 8.7)."""
        return False

    @abstractmethod
    async def drain(self) -> None:
        """Accepts nothing new and waits for open calls, up to the limit. Called once for each connection."""

    @abstractmethod
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request, or the lifespan."""


class CallDispatcher:
    """The part of an ASGI app that answers calls."""

    def __init__(self, mapping: dict[str, Handler], *, connect: bool = True) -> None:
        self.mapping = mapping
        self._connect = ConnectDispatcher(mapping) if connect else None
        self._codec = BinaryCodec()
        self._dispatch = _DispatchServerEvents()

    def accepts(self, scope: Scope) -> bool:
        """Whether a request is a call, of a method that exists or not; all other requests are for pages."""
        return _is_grpc(scope) or (self._connect is not None and self._connect.accepts(scope))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._connect is not None and not _is_grpc(scope):
            await self._connect(scope, receive, send)
            return
        if scope["http_version"] not in ("2", "3"):
            # As grpc-go's handler does: clients do not agree on trailers over HTTP/1.1.
            await send({"type": "http.response.start", "status": 505, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body", "body": b""})
            return
        stream = AsgiStream(scope, receive, send)
        await self.serve(cast("Stream", stream), request_headers(scope), stream.release)

    async def serve(self, stream: Stream, headers: Headers, release: Callable[[], Any]) -> None:
        """Serves one call of gRPC. `stream` has the interface of grpclib.protocol.Stream, whatever implements it."""
        answer = refusal(headers, self.mapping)
        if answer is None:
            given = (self.mapping, stream, normalised(headers), self._codec, None, self._dispatch)
            await request_handler(*given, release_stream=release)
            return
        with suppress(H2Error):  # the client may have gone
            await stream.send_headers(answer, end_stream=True)
        release()


def _is_grpc(scope: Scope) -> bool:
    return is_grpc(next((value for name, value in scope["headers"] if name == b"content-type"), b"").decode("latin-1"))


async def not_found(send: Send) -> None:
    """Answers 404."""
    await send({"type": "http.response.start", "status": 404, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


async def lifespan(receive: Receive, send: Send, begin: Callable[[], object], end: Callable[[], object]) -> None:
    """The app's side of ASGI's lifespan protocol. When `begin` raises SettingsError the startup fails with its text."""
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            try:
                begin()
            except SettingsError as error:
                await _not_started(send, str(error))
                return
            await send({"type": "lifespan.startup.complete"})
        else:
            end()
            await send({"type": "lifespan.shutdown.complete"})
            return


async def _not_started(send: Send, why: str) -> None:
    try:
        await send({"type": "lifespan.startup.failed", "message": why})
    except Exception:
        # Hypercorn raises; its command would print two tracebacks.
        with suppress(OSError, ValueError):
            STDERR.write(f"pog: {why}\n")
        raise SystemExit(2) from None
