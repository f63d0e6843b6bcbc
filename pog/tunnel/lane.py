"""The payload of a call as a transport, cut through: our HTTP/2 stream below, the wire's codec in between.

Bytes go from the connection's socket to the tunnel's protocol within one callback, as slices of what was read; what
is written becomes small headers and the same chunk. Credit returns when the protocol has taken a piece, or, while it
has paused reading, when it goes on.

How a tunnel ends:

    client   the peer's status OK            eof_received, then connection_lost(None)
             another status                  connection_lost(CallFailed)
    server   the request's end               eof_received
             CANCEL by the original's client connection_lost(None)
    both     a half_close packet             eof_received; the other direction goes on
             a reset, a lost connection      connection_lost(TunnelError)
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from grpclib.const import Status
from h2.errors import ErrorCodes

from pog.errors import CallFailed, ProtocolViolation, TunnelError, TunnelReset
from pog.wire import encode
from pog.wire.decode import Decoder

if TYPE_CHECKING:
    from pog.http2.stream import Stream
    from pog.proto.grpcproxy_pb2 import Packet
    from pog.wire.decode import Chunk

# A server that does not end the call after the client has ended it is not waited for longer; seconds.
_CLOSE_TIMEOUT = 10.0
# What is held in smaller pieces is joined up to this size.
_JOINED_BYTES = 16 * 1024


class LaneTransport(asyncio.Transport):
    """One tunnel's payload over `stream`, from behind what the handshake has read of it.

    `half_close`: the peer announced that it understands the packet. A client does not need it to say its end.
    """

    __slots__ = (
        "_client",
        "_closing",
        "_decoder",
        "_eof_received",
        "_half_close",
        "_held",
        "_lost",
        "_paused",
        "_protocol",
        "_stream",
    )

    def __init__(self, stream: Stream, *, half_close: bool) -> None:
        super().__init__()
        self._stream = stream
        self._client = stream.client
        self._half_close = half_close
        self._decoder = Decoder()
        self._protocol: asyncio.Protocol | None = None
        # What came with the item that made the protocol pause. No deque before that: an empty one takes 0.6 KB.
        self._held: deque[bytearray | Chunk | Packet] | None = None
        self._paused = False
        self._eof_received = False
        self._closing = False
        self._lost = False

    # The stream's consumer

    def data_received(self, data: Chunk) -> None:
        """For the stream: a piece of its content."""
        try:
            items = self._decoder.feed(data)
        except ProtocolViolation as error:
            self._break(error)
            return
        for item in items:
            if self._paused:
                self._hold(item)
            elif not self._deliver(item):
                return

    def _hold(self, item: Chunk | Packet) -> None:
        """Keeps it for later. Small ones are joined: one piece of input may hold thousands of messages of a byte."""
        if self._held is None:
            self._held = deque()
        if not isinstance(item, (bytes, memoryview)) or len(item) >= _JOINED_BYTES:
            self._held.append(item)
        elif self._held and isinstance(last := self._held[-1], bytearray) and len(last) < _JOINED_BYTES:
            last += item
        else:
            self._held.append(bytearray(item))

    def _deliver(self, item: Chunk | Packet) -> bool:
        """Passes one item on; false when the tunnel broke on it."""
        if isinstance(item, (bytes, memoryview)):
            if self._eof_received:
                self._break(ProtocolViolation("payload after half_close"))
                return False
            if not self._closing:
                assert self._protocol is not None
                self._protocol.data_received(item)  # type: ignore[arg-type]  # as good as bytes for a protocol that writes it on
        elif item.HasField("half_close"):
            self._receive_eof()
        else:
            self._break(ProtocolViolation(f"got wrong packet type: {item.WhichOneof('union')}"))
            return False
        return True

    def ended(self) -> None:
        """For the stream: the peer's direction has ended."""
        if not self._decoder.between_messages:
            self._break(ProtocolViolation("the stream ended inside a message"))
        elif not self._client:
            self._receive_eof()
        elif (error := call_error(self._stream)) is not None:
            self._lose(error)
        else:
            self._receive_eof()
            self._lose(None)

    def lost(self, error: TunnelError) -> None:
        """For the stream: it broke.

        The original's client has one word for every end of the user, CANCEL; its server closes the destination's
        socket then, and does not reset it. Bytes that the destination will never get are no such end.
        """
        cancelled = isinstance(error, TunnelReset) and error.by_peer and error.code == ErrorCodes.CANCEL
        original = not self._client and not self._half_close
        complete = not self._paused and not self._held and self._decoder.between_messages
        self._lose(None if cancelled and original and complete else error)

    def pause_writing(self) -> None:
        """For the stream: much is waiting to be sent."""
        if self._protocol is not None and not self._closing:
            self._protocol.pause_writing()

    def resume_writing(self) -> None:
        """For the stream: little is waiting to be sent."""
        if self._protocol is not None and not self._closing:
            self._protocol.resume_writing()

    def _receive_eof(self) -> None:
        if self._eof_received or self._closing:
            return
        self._eof_received = True
        assert self._protocol is not None
        if not self._protocol.eof_received():
            self.close()

    def _break(self, error: TunnelError) -> None:
        """The peer broke a rule. A server's handler says so with a status, so only a client resets."""
        self._stream.release()
        if self._client:
            self._stream.reset_nowait(ErrorCodes.PROTOCOL_ERROR)
        self._lose(error)

    def _lose(self, error: Exception | None) -> None:
        if self._lost:
            return
        self._lost = self._closing = True
        self._held = None
        self._stream.release()
        protocol, self._protocol = self._protocol, None
        if protocol is not None:
            protocol.connection_lost(error)

    # The protocol's transport

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        assert isinstance(protocol, asyncio.Protocol)
        first = self._protocol is None
        self._protocol = protocol
        if first:
            self._stream.attach(self)
            if self._paused:
                self._stream.pause_reading()

    def get_protocol(self) -> asyncio.BaseProtocol:
        assert self._protocol is not None
        return self._protocol

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._closing:
            return
        chunks = encode.payload(data)
        if chunks:
            size = len(data) + len(chunks[0])
            if len(chunks) > 2:
                size = sum(map(len, chunks))
            self._stream.write(chunks, size)

    def can_write_eof(self) -> bool:
        return self._client or self._half_close

    def write_eof(self) -> None:
        """Says the end of our direction; where the peer would not understand it, nothing happens."""
        if self._closing:
            return
        if self._client:
            self._stream.write_eof()
        elif self._half_close:
            self._stream.write([encode.HALF_CLOSE], len(encode.HALF_CLOSE))

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """The limits are fixed, and small pieces that wait are joined."""

    def get_write_buffer_size(self) -> int:
        return self._stream.queue.size

    def pause_reading(self) -> None:
        self._paused = True
        self._stream.pause_reading()

    def resume_reading(self) -> None:
        self._paused = False
        while self._held and not self._paused:
            item = self._held.popleft()
            if not self._deliver(bytes(item) if isinstance(item, bytearray) else item):
                return
        if not self._paused:
            self._stream.resume_reading()

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        """What was written goes out, nothing more is read. A client ends the call; a server's handler does so."""
        if self._closing:
            return
        self._closing = True
        if self._client:
            self._stream.write_eof()
        self._stream.release()
        self._stream.when_sent(self._closed)

    def _closed(self) -> None:
        """What was written before `close` has become frames, or never can."""
        stream = self._stream
        error: Exception | None = stream.error
        if self._client and error is None:
            stream.expire(_CLOSE_TIMEOUT)
            if stream.ended:
                error = call_error(stream)
        self._lose(error)

    def abort(self) -> None:
        """Nothing more is read or written. A client resets the call; a server's handler ends it with a status."""
        if self._lost:
            return
        self._closing = True
        self._stream.discard_written()
        self._stream.release()
        if self._client:
            self._stream.reset_nowait(ErrorCodes.CANCEL)
        self._stream.loop.call_soon(self._lose, None)

    async def finished(self) -> None:
        """Waits until what was written has been sent, or could not be."""
        await self._stream.sent()


def call_error(stream: Stream) -> TunnelError | None:
    """What the trailers of a finished call say, None for OK."""
    fields = dict(stream.trailers or stream.headers or ())
    status = fields.get("grpc-status")
    if status is None:
        return ProtocolViolation("the call ended without a grpc-status")
    if status == "0":
        return None
    try:
        code = Status(int(status))
    except ValueError:
        code = Status.UNKNOWN
    return CallFailed(code, unquote(fields.get("grpc-message", "")))
