"""The frames of a connection that are not DATA, as the receiving half takes them in (inbound.py).

1. WINDOW_UPDATE changes our send windows.
2. GOAWAY becomes an event; h2 must not see it, since it would close at once what may still go on.
3. HEADERS and CONTINUATION become whole header blocks, which go to h2's state machines with RST_STREAM (machine.py).
4. SETTINGS and PING are h2's, as whole frames.
5. PRIORITY and frames of unknown types are ignored (RFC 9113 sections 5.3.2 and 5.5).

What the peer does wrong on a stream ends that stream (`_stream_failed`); a ProtocolError that is no StreamError ends
the connection. tests/http2/test_whose_error.py has the table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from h2.errors import ErrorCodes
from h2.exceptions import DenialOfServiceError, FlowControlError, FrameDataMissingError, ProtocolError

from pog.http2 import frames
from pog.http2.abuse_limits import Abuse, AbuseLimits
from pog.http2.errors import FieldsTooLarge, StreamError
from pog.http2.events import ConnectionFailed, DataReceived, GoAwayReceived, ProbeAnswered, StreamFailed, WindowOpened
from pog.http2.windows import LARGEST_WINDOW

if TYPE_CHECKING:
    from collections import deque

    from h2.events import Event

    from pog.http2.machine import Machine
    from pog.http2.scheduler import Piece

    AnyEvent = Event | DataReceived | GoAwayReceived | ProbeAnswered | WindowOpened | StreamFailed | ConnectionFailed

# More parts than this has no header list that we would take (h2's own limit is 64).
_MOST_CONTINUATIONS = 16
_PRIORITY_BYTES = 5
# What a new stream costs beside its fields, in the frames that could be taken in meanwhile.
_WORK_OF_A_STREAM = 40


class Output:
    """What is to be sent, in order."""

    __slots__ = ("chunks",)

    def __init__(self) -> None:
        self.chunks: list[Piece] = []


class Control:
    """Takes in whole frames. What they mean is added to `_events`."""

    def __init__(self, machine: Machine, output: Output, settings_sent: deque[bytes]) -> None:
        self.machine = machine
        self._output = output
        self._settings_sent = settings_sent
        self._limits = AbuseLimits()
        self._events: list[AnyEvent] = []
        self._now = 0.0
        # What was done in this pass, in frames that take in nothing (about 10 µs each).
        self._work = 0
        # The header block that is being collected: its stream (0: none), parts, and whether it ends the stream.
        self._block_stream = 0
        self._block: list[bytes] = []
        self._block_ends = False
        self._block_depends_on = 0

    def _whole_frame(self, kind: int, flags: int, stream_id: int, frame: bytes) -> None:
        """A frame other than DATA, or whatever comes while a header block is open."""
        try:
            if self._block_stream:
                self._continuation(kind, flags, stream_id, frame)
            elif kind == frames.WINDOW_UPDATE:
                self._window_update(stream_id, frame)
            elif kind == frames.HEADERS:
                self._headers(flags, stream_id, frame)
            elif kind == frames.RST_STREAM:
                self._rst_stream(stream_id, frame)
            elif kind == frames.GOAWAY:
                self._goaway(stream_id, frame)
            elif kind == frames.PRIORITY:
                self._priority(stream_id, frame)
            elif kind == frames.CONTINUATION:
                raise ProtocolError("CONTINUATION without a header block")
            elif kind == frames.PUSH_PROMISE:
                raise ProtocolError("PUSH_PROMISE, though push is off")
            elif kind == frames.SETTINGS or kind == frames.PING:
                self._of_the_connection(kind, flags, stream_id, frame)
            else:
                self._limits.spend(Abuse.CHATTER, self._now)
        except StreamError as error:
            self._stream_failed(error)

    def _of_the_connection(self, kind: int, flags: int, stream_id: int, frame: bytes) -> None:
        acknowledges = bool(flags & frames.ACK)
        if kind == frames.SETTINGS and not acknowledges and len(frame) > frames.HEADER_BYTES:
            self._limits.spend(Abuse.SETTINGS, self._now)
        else:
            self._limits.spend(Abuse.CHATTER, self._now)
        if kind == frames.SETTINGS and acknowledges and len(frame) == frames.HEADER_BYTES and not stream_id:
            if self._settings_sent and (token := self._settings_sent.popleft()):
                self._events.append(ProbeAnswered(token))
                return
        self._events += self.machine.receive_data(frame)
        self._take_output()

    def _take_output(self) -> None:
        """What h2 answers."""
        if self.machine._data_to_send:
            self._output.chunks.append(self.machine.data_to_send())

    def _stream_failed(self, error: StreamError, *, at_work: bool = True) -> None:
        """Ends one stream for what the peer did. `at_work`: its request had been given to its owner."""
        machine, stream_id = self.machine, error.stream_id
        stream = machine.streams.get(stream_id)
        code: int = error.error_code
        if stream is None:
            if code != ErrorCodes.REFUSED_STREAM:
                self._limits.spend(Abuse.STRAY, self._now)
        elif not machine.client and not at_work and isinstance(error, FieldsTooLarge):
            self._answer_too_large(stream_id)
            code = ErrorCodes.NO_ERROR
        elif not machine.client and at_work and not stream.state_machine.headers_sent:
            self._limits.spend(Abuse.RAPID_RESET, self._now)
        if stream is not None:
            machine.fail_stream(stream)
            self._events.append(StreamFailed(stream_id, code, str(error)))
        self._output.chunks.append(frames.rst_stream(stream_id, code))

    def _answer_too_large(self, stream_id: int) -> None:
        """431 for a request (RFC 6585 section 5)."""
        block = self.machine.encoder.encode_list([(":status", "431"), ("content-length", "0")])
        largest = self.machine.max_outbound_frame_size
        self._output.chunks.append(frames.headers(stream_id, block, largest, end_stream=True))

    # Header blocks

    def _headers(self, flags: int, stream_id: int, frame: bytes) -> None:
        if not stream_id:
            raise ProtocolError("HEADERS on stream 0")
        block, depends_on = frame[frames.HEADER_BYTES :], 0
        if flags & (frames.PADDED | frames.WITH_PRIORITY):
            block, depends_on = _without_padding_and_priority(flags, block)
        ends = bool(flags & frames.END_STREAM)
        if flags & frames.END_HEADERS:
            self._header_block(stream_id, block, ends, depends_on)
        else:
            self._block_stream, self._block, self._block_ends = stream_id, [block], ends
            self._block_depends_on = depends_on

    def _continuation(self, kind: int, flags: int, stream_id: int, frame: bytes) -> None:
        if kind != frames.CONTINUATION or stream_id != self._block_stream:
            raise ProtocolError("another frame inside a header block")
        block = self._block
        block.append(frame[frames.HEADER_BYTES :])
        if len(block) > _MOST_CONTINUATIONS + 1 or sum(map(len, block)) > self.machine.largest_header_block:
            # To go on without this block it would have to be decoded (RFC 9113 section 10.5.1).
            raise DenialOfServiceError("a header block over our limit")
        if flags & frames.END_HEADERS:
            self._block_stream, self._block = 0, []
            self._header_block(stream_id, b"".join(block), self._block_ends, self._block_depends_on)

    def _header_block(self, stream_id: int, block: bytes, ends: bool, depends_on: int) -> None:
        machine = self.machine
        known, before = stream_id in machine.streams, machine.decoder.work
        try:
            refuse = self._limits.refuses(self._now)
            events = machine.receive_block(stream_id, block, ends, refuse=refuse)
            if depends_on == stream_id:
                raise StreamError(stream_id, ErrorCodes.PROTOCOL_ERROR, "a stream that depends on itself")
            self._events += events
        except StreamError as error:
            self._stream_failed(error, at_work=known)
        work = machine.decoder.work - before
        self._work += work + (0 if known else _WORK_OF_A_STREAM)
        self._limits.spend(Abuse.FIELDS, self._now, work + 1)
        machine.settle(stream_id)

    # Frames of a stream

    def _priority(self, stream_id: int, frame: bytes) -> None:
        if not stream_id:
            raise ProtocolError("PRIORITY on stream 0")
        self._limits.spend(Abuse.CHATTER, self._now)
        body = frame[frames.HEADER_BYTES :]
        is_open = stream_id in self.machine.streams
        if len(body) != _PRIORITY_BYTES:
            if is_open:
                # RFC 9113 section 6.3: an error of the stream.
                raise StreamError(stream_id, ErrorCodes.FRAME_SIZE_ERROR, "PRIORITY must have 5 bytes")
        elif _depends_on(body) == stream_id:
            if is_open:
                raise StreamError(stream_id, ErrorCodes.PROTOCOL_ERROR, "a stream that depends on itself")
            if self.machine.is_idle(stream_id):
                raise ProtocolError("a stream that depends on itself")  # and cannot be reset

    def _rst_stream(self, stream_id: int, frame: bytes) -> None:
        machine = self.machine
        if not stream_id:
            raise ProtocolError("RST_STREAM on stream 0")
        if len(frame) != frames.HEADER_BYTES + 4:
            raise FrameDataMissingError("RST_STREAM must have 4 bytes")
        stream = machine.streams.get(stream_id)
        if stream is None:
            # RFC 9113 section 6.4 makes a reset of an idle stream an error of the connection. haproxy 2.6 sends one for
            # a request that it could not pass on (more than 101 fields, WebSocket), so that any stranger could end
            # everybody's streams; as long as there are some, it is ignored.
            if not machine.streams:
                machine.expect_known(stream_id)
            # One reset may cross our own end of the stream (section 5.1); others are idle talk.
            if not machine.crossed_reset(stream_id):
                self._limits.spend(Abuse.CHATTER, self._now)
            return
        if not machine.client and not stream.state_machine.headers_sent:
            self._limits.spend(Abuse.RAPID_RESET, self._now)
        self._events += machine.receive_reset(stream, frames.unpack_number(frame[frames.HEADER_BYTES :])[0])
        machine.settle(stream_id)

    def _window_update(self, stream_id: int, frame: bytes) -> None:
        if len(frame) != frames.HEADER_BYTES + 4:
            raise FrameDataMissingError("WINDOW_UPDATE must have 4 bytes")
        increment = frames.unpack_number(frame[frames.HEADER_BYTES :])[0] & LARGEST_WINDOW
        machine = self.machine
        if not stream_id:
            if not increment:
                raise ProtocolError("WINDOW_UPDATE by zero on the connection")
            machine.outbound_flow_control_window += increment
            if machine.outbound_flow_control_window > LARGEST_WINDOW:
                raise FlowControlError("the connection's window was opened over 2^31-1")
            return
        stream = machine.streams.get(stream_id)
        if stream is None:
            machine.expect_known(stream_id)
            return
        if not increment:
            # RFC 9113 section 6.9: an error of the stream.
            raise StreamError(stream_id, ErrorCodes.PROTOCOL_ERROR, "WINDOW_UPDATE by zero")
        before = stream.outbound_flow_control_window
        if before + increment > LARGEST_WINDOW:
            # Section 6.9.1: likewise.
            raise StreamError(stream_id, ErrorCodes.FLOW_CONTROL_ERROR, "the window was opened over 2^31-1")
        stream.outbound_flow_control_window = before + increment
        if before <= 0:
            self._events.append(WindowOpened(stream_id))

    def _goaway(self, stream_id: int, frame: bytes) -> None:
        body = frame[frames.HEADER_BYTES :]
        if stream_id:
            raise ProtocolError("GOAWAY on a stream")
        if len(body) < 8:
            raise FrameDataMissingError("GOAWAY must have at least 8 bytes")
        self._limits.spend(Abuse.CHATTER, self._now)
        last = frames.unpack_number(body[:4])[0] & frames.LARGEST_STREAM_ID
        self._events.append(GoAwayReceived(last, frames.unpack_number(body[4:8])[0], body[8:]))
        if self.machine.client:
            for stream in [stream for number, stream in self.machine.streams.items() if number > last]:
                self._events.append(self.machine.forget_stream(stream))


def _without_padding_and_priority(flags: int, body: bytes) -> tuple[bytes, int]:
    """The header block of a HEADERS frame, and the stream that its own is to depend on (RFC 9113 section 6.2)."""
    start = padding = depends_on = 0
    if flags & frames.PADDED:
        if not body:
            raise FrameDataMissingError("HEADERS without the length of its padding")
        start, padding = 1, body[0]
    if flags & frames.WITH_PRIORITY:
        if len(body) < start + _PRIORITY_BYTES:
            raise FrameDataMissingError("HEADERS without its priority")
        depends_on = _depends_on(body[start:])
        start += _PRIORITY_BYTES
    if padding > len(body) - start:
        raise ProtocolError("HEADERS with more padding than content")
    return body[start : len(body) - padding], depends_on


def _depends_on(priority: bytes) -> int:
    return int(frames.unpack_number(priority[:4])[0]) & frames.LARGEST_STREAM_ID
