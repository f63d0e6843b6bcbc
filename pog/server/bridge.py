"""A gRPC call over plain ASGI messages: gives grpclib's request_handler the stream interface that it expects.

The portable path. On pog's own HTTP/2 the stream itself has that interface, and this file is not used.

Strategy: one task receives the request's messages into a buffer for `recv_data`, and pauses while the buffer is full;
so a disconnect is noticed while the handler waits for something else. Output becomes http.response messages.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from grpclib.const import Status
from grpclib.exceptions import GRPCError, StreamTerminatedError

from pog.http2.config import MESSAGE_TIMEOUT
from pog.wire.framing import LARGEST_MESSAGE, message_length

if TYPE_CHECKING:
    from grpclib.utils import Wrapper
    from starlette.types import Receive, Scope, Send

Headers = list[tuple[str, str]]

# The buffer's size: about four reads of Hypercorn's.
_UNREAD_BYTES = 256 * 1024


def request_headers(scope: Scope) -> Headers:
    """The request's head as grpclib wants it, pseudo-header fields first."""
    headers = [(":method", scope["method"]), (":path", scope["path"]), (":scheme", scope["scheme"])]
    headers += [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
    return headers


class AsgiPeer:
    """The client's address, with the interface of grpclib.protocol.Peer."""

    def __init__(self, scope: Scope) -> None:
        self._client = scope.get("client")

    def addr(self) -> tuple[str, int] | None:
        return tuple(self._client[:2]) if self._client else None

    def cert(self) -> dict[str, Any] | None:
        return None


class AsgiConnection:
    """The attributes of a connection that grpclib counts messages in; here one object for each call."""

    messages_sent = 0
    messages_received = 0
    last_message_sent: float | None = None
    last_message_received: float | None = None

    def __init__(self, scope: Scope) -> None:
        self._peer = AsgiPeer(scope)

    def get_peer(self) -> AsgiPeer:
        return self._peer


class AsgiStream:
    """One HTTP/2 stream under an ASGI server, with the interface of grpclib.protocol.Stream.

    `wrapper` is set by request_handler; a disconnect cancels the handler through it.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.connection = AsgiConnection(scope)
        self.wrapper: Wrapper | None = None
        self.data_received = 0
        self.data_sent = 0
        self._receive = receive
        self._send = send
        self._unread = bytearray()
        self._wanted = 0
        self._inside = False
        self._begun = False
        self._eof = False
        self._changed = asyncio.Event()
        self._ended = False
        self._disconnected = False
        self._reader = asyncio.create_task(self._read(), name="asgi-request")

    async def _read(self) -> None:
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self._disconnect()
                return
            body = message.get("body", b"")
            self._unread += body
            self.data_received += len(body)
            self._eof = self._eof or not message.get("more_body", False)
            self._changed.set()
            while len(self._unread) > max(_UNREAD_BYTES, self._wanted):
                self._changed.clear()
                await self._changed.wait()

    def _disconnect(self) -> None:
        self._disconnected = True
        self._eof = True
        self._changed.set()
        if not self._ended and self.wrapper is not None:
            self.wrapper.cancel(StreamTerminatedError("the client has gone"))

    async def recv_data(self, size: int) -> bytes:
        """Exactly `size` bytes, or none at the end of the request. Raises StreamTerminatedError without a client, and
        GRPCError when the request ends inside a message, for more than one message may have, and when the first
        message, or the rest of one, does not arrive within MESSAGE_TIMEOUT."""
        if size > LARGEST_MESSAGE:
            raise GRPCError(Status.RESOURCE_EXHAUSTED, f"a message of {size} bytes; the limit is {LARGEST_MESSAGE}")
        try:
            async with asyncio.timeout(MESSAGE_TIMEOUT if self._inside or not self._begun else None):
                await self._wait_for(size)
        except TimeoutError:
            text = f"no complete message within {MESSAGE_TIMEOUT:g} s"
            raise GRPCError(Status.DEADLINE_EXCEEDED, text) from None
        if self._disconnected:
            raise StreamTerminatedError("the client has gone")
        if len(self._unread) < size and (self._unread or self._inside):
            raise GRPCError(Status.INTERNAL, "the request ended inside a message")
        data = bytes(self._unread[:size])
        del self._unread[:size]
        if size:  # a prefix, whose last four bytes are the length of the message, or a message
            self._begun = True
            self._inside = not self._inside and message_length(data) > 0
        self._changed.set()
        return data

    async def _wait_for(self, size: int) -> None:
        self._wanted = size
        while len(self._unread) < size and not self._eof:
            self._changed.set()
            self._changed.clear()
            await self._changed.wait()

    async def send_headers(self, headers: Headers, end_stream: bool = False) -> None:
        status = int(dict(headers).get(":status", "0"))
        fields = [(name.encode("ascii"), value.encode("ascii")) for name, value in headers if name[0] != ":"]
        if status:
            # ASGI has no Trailers-Only response; headers and trailers mean the same in gRPC. A refusal before gRPC
            # (415, 400) is headers alone.
            only_trailers = end_stream and status == 200
            head = [field for field in fields if field[0] == b"content-type" or not only_trailers]
            fields = [field for field in fields if field not in head]
            start = {"type": "http.response.start", "status": status, "headers": head, "trailers": status == 200}
            await self._send(start)
        if end_stream:
            self._ended = True
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})
            if status in (0, 200):
                await self._send({"type": "http.response.trailers", "headers": fields, "more_trailers": False})

    async def send_data(self, data: bytes, end_stream: bool = False) -> None:
        self.data_sent += len(data)
        await self._send({"type": "http.response.body", "body": data, "more_body": not end_stream})

    async def reset(self, error_code: int = 0) -> None:
        self.reset_nowait(error_code)

    def reset_nowait(self, error_code: int = 0) -> None:
        """ASGI has no reset: the server ends the stream when the app returns."""
        self._ended = True

    @property
    def closable(self) -> bool:
        return not (self._ended or self._disconnected)

    @property
    def _transport(self) -> AsgiStream:
        return self

    def is_closing(self) -> bool:
        return self._disconnected

    def release(self) -> None:
        """The call is over: no more of the request is received."""
        self._ended = True
        self._reader.cancel()
