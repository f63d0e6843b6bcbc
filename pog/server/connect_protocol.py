"""The Connect protocol for unary calls: one POST, JSON or protobuf, over any version of HTTP, so that curl is a client.

    curl -d '{}' -H 'content-type: application/json' http://HOST/healthcheck.Healthcheck/Invoke

The rules: connectrpc.com/docs/protocol. Strategy: the request becomes one gRPC message on a stream that exists only in
memory, and grpclib's request_handler serves it as any other; so credentials, deadlines and handlers are the same ones.
The status that the call ends with becomes a status of HTTP and an error in JSON. The package connectrpc is not used: it
brings a second protobuf runtime and an HTTP client, and wants handlers of another form.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

from grpclib.const import Cardinality, Status
from grpclib.events import _DispatchServerEvents
from grpclib.exceptions import GRPCError
from grpclib.metadata import decode_grpc_message
from grpclib.server import request_handler

from pog.http2.config import MESSAGE_TIMEOUT
from pog.server.bridge import AsgiConnection
from pog.server.codecs import BinaryCodec, JsonCodec
from pog.wire.framing import PREFIX_BYTES, framed
from pog.wire.http_fields import basic_challenge

if TYPE_CHECKING:
    from collections.abc import Mapping

    from grpclib.const import Handler
    from grpclib.encoding.base import CodecBase
    from grpclib.protocol import Stream
    from grpclib.utils import Wrapper
    from starlette.types import Receive, Scope, Send

    from pog.server.bridge import Headers

# Unary requests here are empty or hold one name.
LARGEST_REQUEST = 64 * 1024
# The longest time for a request in all, seconds: a body that never arrives must not hold a handler.
LONGEST_CALL = 60
_DISCARD_TIMEOUT = 1.0

CODECS: dict[str, CodecBase] = {"application/json": JsonCodec(), "application/proto": BinaryCodec()}
_FORMS = ", ".join(CODECS)

# The codes of the protocol are gRPC's by other names, each with a status of HTTP.
_HTTP_STATUS = {
    Status.CANCELLED: 499,
    Status.UNKNOWN: 500,
    Status.INVALID_ARGUMENT: 400,
    Status.DEADLINE_EXCEEDED: 504,
    Status.NOT_FOUND: 404,
    Status.ALREADY_EXISTS: 409,
    Status.PERMISSION_DENIED: 403,
    Status.RESOURCE_EXHAUSTED: 429,
    Status.FAILED_PRECONDITION: 400,
    Status.ABORTED: 409,
    Status.OUT_OF_RANGE: 400,
    Status.UNIMPLEMENTED: 501,
    Status.INTERNAL: 500,
    Status.UNAVAILABLE: 503,
    Status.DATA_LOSS: 500,
    Status.UNAUTHENTICATED: 401,
}
_CODE_NAMES = {status: status.name.lower() for status in _HTTP_STATUS} | {Status.CANCELLED: "canceled"}

# Fields of the hop (RFC 9110 7.6.1), and others that mean nothing to a handler.
_NOT_METADATA = ("host", "te", "content-type", "content-length", "content-encoding", "accept-encoding", "connection")


class RequestRefused(Exception):
    """The request is refused before a handler sees it. `status`: HTTP's, where the code's own is too general."""

    def __init__(self, code: Status, text: str, status: int = 0, fields: Mapping[str, str] | None = None) -> None:
        super().__init__(text)
        self.code = code
        self.status = status or _HTTP_STATUS[code]
        self.fields = dict(fields or {})


class ConnectDispatcher:
    """Serves the unary methods of `mapping`."""

    def __init__(self, mapping: Mapping[str, Handler]) -> None:
        self._mapping = dict(mapping)
        self._dispatch = _DispatchServerEvents()

    def accepts(self, scope: Scope) -> bool:
        """Whether a request is a call: its path is a method's, or its content type is one of this protocol's."""
        path: str = scope["path"]
        if path in self._mapping:
            return True
        return scope["method"] == "POST" and path.count("/") == 2 and _field(scope, b"content-type") in CODECS

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            headers, codec = self._request(scope)
        except RequestRefused as refused:
            await _discard(receive)
            await _answer(send, refused.status, refused.fields, _error(refused.code, str(refused)))
            return
        stream = UnaryStream(scope, receive)
        await request_handler(
            cast("Any", self._mapping), cast("Stream", stream), headers, codec, None, self._dispatch, lambda: None
        )
        if not stream.content_read and stream.status is not Status.DEADLINE_EXCEEDED:
            await _discard(receive)
        if stream.status is Status.OK:
            fields = {"content-type": f"application/{codec.__content_subtype__}"}
            await _answer(send, 200, fields, bytes(stream.answer[PREFIX_BYTES:]))
        else:
            fields = {"www-authenticate": basic_challenge("pog")} if stream.status is Status.UNAUTHENTICATED else {}
            await _answer(send, _HTTP_STATUS[stream.status], fields, _error(stream.status, stream.text))

    def _request(self, scope: Scope) -> tuple[Headers, CodecBase]:
        """The request's head as gRPC's, and the codec of its content. Raises RequestRefused."""
        path = scope["path"]
        handler = self._mapping.get(path)
        if handler is None:
            raise RequestRefused(Status.UNIMPLEMENTED, f"there is no method {path}", 404)
        if scope["method"] != "POST":
            raise RequestRefused(Status.UNIMPLEMENTED, "a call is a POST", 405, {"allow": "POST"})
        if handler.cardinality is not Cardinality.UNARY_UNARY:
            text = f"{path} is a streaming method: call it by gRPC, that is application/grpc over HTTP/2"
            raise RequestRefused(Status.UNIMPLEMENTED, text, 415, {"accept-post": "application/grpc"})
        codec = CODECS.get(_field(scope, b"content-type"))
        if codec is None:
            raise RequestRefused(
                Status.UNIMPLEMENTED, f"content-type must be one of {_FORMS}", 415, {"accept-post": _FORMS}
            )
        if _field(scope, b"content-encoding") not in ("", "identity"):
            raise RequestRefused(
                Status.UNIMPLEMENTED, "content must not be compressed", fields={"accept-encoding": "identity"}
            )
        if _field(scope, b"connect-protocol-version") not in ("", "1"):
            raise RequestRefused(Status.INVALID_ARGUMENT, "connect-protocol-version must be 1")
        fields = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
        return [
            (":method", "POST"),
            (":path", path),
            ("te", "trailers"),
            ("content-type", f"application/grpc+{codec.__content_subtype__}"),
            ("grpc-timeout", _timeout(_field(scope, b"connect-timeout-ms"))),
            # Malformed binary metadata would end the call with a traceback; no method here has a use for any.
            *(each for each in fields if each[0] not in _NOT_METADATA and not each[0].endswith("-bin")),
        ], codec


class UnaryStream:
    """A stream of one message each way, with the interface of grpclib.protocol.Stream.

    The request's content is read when the handler asks for it, which is after its credentials are checked.
    """

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self.connection = AsgiConnection(scope)
        self.wrapper: Wrapper | None = None
        self.data_received = 0
        self.data_sent = 0
        self.answer = bytearray()
        self.status = Status.INTERNAL
        self.text = ""
        self.content_read = False
        self._receive = receive
        self._unread = b""

    async def recv_data(self, size: int) -> bytes:
        """Raises GRPCError when the content is too large or does not come in time, or the client has gone."""
        if not self.content_read:
            self.content_read = True
            try:
                async with asyncio.timeout(MESSAGE_TIMEOUT):
                    content = await _content(self._receive)
            except TimeoutError:
                text = f"no complete request within {MESSAGE_TIMEOUT:g} s"
                raise GRPCError(Status.DEADLINE_EXCEEDED, text) from None
            self._unread = framed(content)
            self.data_received = len(self._unread)
        data, self._unread = self._unread[:size], self._unread[size:]
        return data

    async def send_headers(self, headers: Headers, end_stream: bool = False) -> None:
        fields = dict(headers)
        if end_stream:
            self.status = Status(int(fields.get("grpc-status", Status.UNKNOWN.value)))
            self.text = decode_grpc_message(fields.get("grpc-message", ""))

    async def send_data(self, data: bytes, end_stream: bool = False) -> None:
        self.answer += data
        self.data_sent += len(data)

    async def reset(self, error_code: int = 0) -> None:
        pass

    def reset_nowait(self, error_code: int = 0) -> None:
        pass

    closable = False

    @property
    def _transport(self) -> UnaryStream:
        return self

    def is_closing(self) -> bool:
        return False


async def _content(receive: Receive) -> bytes:
    """The request's content. Raises GRPCError when it is too large, or the client has gone."""
    content = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise GRPCError(Status.CANCELLED, "the client has gone")
        content += message.get("body", b"")
        if len(content) > LARGEST_REQUEST:
            raise GRPCError(Status.RESOURCE_EXHAUSTED, f"the request is longer than {LARGEST_REQUEST} bytes")
        if not message.get("more_body", False):
            return bytes(content)


async def _discard(receive: Receive) -> None:
    """Reads content that is not used, within limits: curl 7.88 sometimes fails when it is answered too early."""
    with suppress(GRPCError, TimeoutError):
        async with asyncio.timeout(_DISCARD_TIMEOUT):
            await _content(receive)


def _field(scope: Scope, name: bytes) -> str:
    """The value of a header in lower case and without parameters, or nothing."""
    value = next((value for each, value in scope["headers"] if each == name), b"")
    return str(value.decode("latin-1")).partition(";")[0].strip().lower()


def _timeout(milliseconds: str) -> str:
    """Connect-Timeout-Ms as grpc-timeout. Raises RequestRefused."""
    if not milliseconds:
        return f"{LONGEST_CALL}S"
    if not (milliseconds.isascii() and milliseconds.isdecimal() and len(milliseconds) <= 10):
        raise RequestRefused(Status.INVALID_ARGUMENT, "connect-timeout-ms must be a number of at most 10 digits")
    if int(milliseconds) == 0:
        raise RequestRefused(Status.DEADLINE_EXCEEDED, "connect-timeout-ms is 0")
    return f"{min(int(milliseconds), LONGEST_CALL * 1000)}m"


def _error(code: Status, text: str) -> bytes:
    return json.dumps({"code": _CODE_NAMES[code], "message": text} if text else {"code": _CODE_NAMES[code]}).encode()


async def _answer(send: Send, status: int, fields: Mapping[str, str], content: bytes) -> None:
    """Errors are JSON for every content type of the request."""
    head = {"content-type": "application/json", "content-length": str(len(content)), **fields}
    headers = [(name.encode(), value.encode()) for name, value in head.items()]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})
