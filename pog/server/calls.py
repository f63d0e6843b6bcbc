"""From ASGI to grpclib's handlers: serves the calls of one mapping, by gRPC and by Connect, in whatever app."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

from grpclib.const import Status
from grpclib.events import _DispatchServerEvents
from grpclib.metadata import decode_timeout, encode_grpc_message
from grpclib.server import request_handler
from h2.exceptions import H2Error

from pog.errors import SettingsError
from pog.server.bridge import AsgiStream, request_headers
from pog.server.codecs import BinaryCodec
from pog.server.connect_protocol import ConnectCalls

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from grpclib.const import Handler
    from grpclib.protocol import Stream

    from pog.http2.hpack import Headers
    from pog.http2.session import Session
    from pog.http2.stream import Stream as OwnStream
    from pog.server.bridge import Message, Receive, Send

# gRPC's PROTOCOL-HTTP2: at most eight digits and a unit.
_TIMEOUT = re.compile(r"[0-9]{1,8}[HMSmun]")
# Nothing is done within less; seconds.
_LEAST_TIMEOUT = 0.001


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
    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serves one request, or the lifespan."""


class Calls:
    """The part of an ASGI app that answers calls."""

    def __init__(self, mapping: dict[str, Handler], *, connect: bool = True) -> None:
        self.mapping = mapping
        self._connect = ConnectCalls(mapping) if connect else None
        self._codec = BinaryCodec()
        self._dispatch = _DispatchServerEvents()

    def takes(self, scope: Message) -> bool:
        """Whether a request is a call, to a method that may not exist; the rest is for pages."""
        return _is_grpc(scope) or (self._connect is not None and self._connect.takes(scope))

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
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
        fields = dict(headers)
        if fields.get(":method") == "POST" and (refusal := self._refusal(fields)) is not None:
            with suppress(H2Error):  # the client may have gone
                await stream.send_headers(refusal, end_stream=True)
            release()
            return
        # Binary metadata, which no method here has a use for, would end the call with a traceback if malformed.
        headers = [each for each in headers if not each[0].endswith("-bin") and each[0] != "grpc-timeout"]
        if "grpc-timeout" in fields:  # once, and the one that was looked at
            headers.append(("grpc-timeout", fields["grpc-timeout"]))
        if "te" not in fields:  # some fronts drop it, and grpc-go does not miss it
            headers.append(("te", "trailers"))
        await request_handler(self.mapping, stream, headers, self._codec, None, self._dispatch, release_stream=release)

    def _refusal(self, fields: Mapping[str, str]) -> Headers | None:
        """What grpclib would answer without a content-type, so that grpc-go takes it for a broken answer, or with a
        traceback that any stranger can ask for."""
        encoding, timeout = fields.get("grpc-encoding", "identity"), fields.get("grpc-timeout")
        if fields.get(":path") not in self.mapping:
            return _only_trailers(Status.UNIMPLEMENTED, f"unknown method {fields.get(':path')}")
        if encoding != "identity":
            return [
                *_only_trailers(Status.UNIMPLEMENTED, f"messages compressed by {encoding} are not understood"),
                ("grpc-accept-encoding", "identity"),
            ]
        if timeout is not None:
            if not _TIMEOUT.fullmatch(timeout):
                return _only_trailers(Status.INVALID_ARGUMENT, "malformed grpc-timeout")
            if decode_timeout(timeout) < _LEAST_TIMEOUT:
                return _only_trailers(Status.DEADLINE_EXCEEDED, "the deadline had passed before the call began")
        return None


def _only_trailers(status: Status, text: str) -> Headers:
    return [
        (":status", "200"),
        ("content-type", "application/grpc"),
        ("grpc-status", str(status.value)),
        ("grpc-message", encode_grpc_message(text)),
    ]


def is_call(headers: Iterable[tuple[str, str]]) -> bool:
    """Whether a request over HTTP/2 is a call of gRPC."""
    return dict(headers).get("content-type", "").startswith("application/grpc")


def _is_grpc(scope: Message) -> bool:
    content_type = next((value for name, value in scope["headers"] if name == b"content-type"), b"")
    return bool(content_type.startswith(b"application/grpc"))


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
                await send({"type": "lifespan.startup.failed", "message": str(error)})
                return
            await send({"type": "lifespan.startup.complete"})
        else:
            end()
            await send({"type": "lifespan.shutdown.complete"})
            return
