"""From ASGI to grpclib's handlers: serves the calls of one mapping, by gRPC and by Connect, in whatever app."""

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
from pog.server.connect_protocol import ConnectCalls
from pog.server.validation import cleaned, refusal
from pog.wire.content_type import is_grpc

if TYPE_CHECKING:
    from collections.abc import Callable

    from grpclib.const import Handler
    from grpclib.protocol import Stream
    from starlette.types import Receive, Scope, Send

    from pog.http2.fields import Headers
    from pog.http2.session import Session
    from pog.http2.stream import Stream as OwnStream


class Served(ABC):
    """An ASGI app whose HTTP/2 connections our engine carries (engine.py); any other app keeps Hypercorn's own."""

    @property
    @abstractmethod
    def portable(self) -> bool:
        """Whether to leave the connections to Hypercorn all the same."""

    @property
    @abstractmethod
    def calls(self) -> Calls:
        """What answers calls; those of gRPC come to it from the engine without the way through ASGI."""

    @property
    @abstractmethod
    def drain_timeout(self) -> float:
        """How long `drain` may take, seconds."""

    def connected(self, session: Session) -> None:  # noqa: B027  # most have nothing to count
        """An HTTP/2 connection of this app is there: for those who count."""

    def refuses(self, stream: OwnStream) -> bool:
        """Whether a request is to be refused as if it had never come, so that a client tries another connection."""
        return False

    @abstractmethod
    async def drain(self) -> None:
        """Takes nothing new and waits for what is open, up to the limit. Called once for each connection."""

    @abstractmethod
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request, or the lifespan."""


class Calls:
    """The part of an ASGI app that answers calls."""

    def __init__(self, mapping: dict[str, Handler], *, connect: bool = True) -> None:
        self.mapping = mapping
        self._connect = ConnectCalls(mapping) if connect else None
        self._codec = BinaryCodec()
        self._dispatch = _DispatchServerEvents()

    def takes(self, scope: Scope) -> bool:
        """Whether a request is a call, to a method that may not exist; the rest is for pages."""
        return _is_grpc(scope) or (self._connect is not None and self._connect.takes(scope))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._connect is not None and not _is_grpc(scope):
            await self._connect(scope, receive, send)
            return
        if scope["http_version"] not in ("2", "3"):
            # As grpc-go's handler: there are no trailers over HTTP/1.1 that clients agree on.
            await send({"type": "http.response.start", "status": 505, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body", "body": b""})
            return
        stream = AsgiStream(scope, receive, send)
        await self.serve(cast("Stream", stream), request_headers(scope), stream.release)

    async def serve(self, stream: Stream, headers: Headers, release: Callable[[], Any]) -> None:
        """Serves one call of gRPC on a stream with grpclib's surface, whatever is below it."""
        answer = refusal(headers, self.mapping)
        if answer is None:
            given = (self.mapping, stream, cleaned(headers), self._codec, None, self._dispatch)
            await request_handler(*given, release_stream=release)
            return
        with suppress(H2Error):  # the client may have gone
            await stream.send_headers(answer, end_stream=True)
        release()


def _is_grpc(scope: Scope) -> bool:
    return is_grpc(next((value for name, value in scope["headers"] if name == b"content-type"), b"").decode("latin-1"))


async def nothing_here(send: Send) -> None:
    """The page where there are none."""
    await send({"type": "http.response.start", "status": 404, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


async def lifespan(receive: Receive, send: Send, begin: Callable[[], object], end: Callable[[], object]) -> None:
    """Answers an ASGI server's lifespan; a SettingsError of `begin` is why it does not start."""
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
        # Hypercorn's answer to that, which its command would show as tracebacks.
        with suppress(OSError, ValueError):
            STDERR.write(f"pog: {why}\n")
        raise SystemExit(2) from None
