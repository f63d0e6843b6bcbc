"""The frames of a connection that are not DATA. [pure]

1. WINDOW_UPDATE changes our send windows.
2. GOAWAY becomes an event; h2 must not see it, since it would close at once what may still go on.
3. HEADERS and CONTINUATION become whole header blocks, which go to h2's state machines with RST_STREAM (machine.py).
4. SETTINGS and PING are h2's, as whole frames.
5. PRIORITY and frames of unknown types are ignored (RFC 9113 sections 5.3.2 and 5.5).

What the peer does wrong on a stream ends that stream (`stream_failed`); a ProtocolError that is no StreamError ends the
connection. tests/http2/test_whose_error.py has the table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from h2.errors import ErrorCodes
from h2.exceptions import FlowControlError, FrameDataMissingError, ProtocolError

from pog.http2 import frames
from pog.http2.abuse_limits import Abuse, AbuseLimits
from pog.http2.errors import FieldsTooLarge, StreamError
from pog.http2.events import GoAwayReceived, ProbeAnswered, StreamFailed, WindowOpened
from pog.http2.header_blocks import PRIORITY_BYTES, HeaderBlocks, dependency
from pog.http2.windows import LARGEST_WINDOW

if TYPE_CHECKING:
    from collections import deque

    from pog.http2.events import AnyEvent
    from pog.http2.header_blocks import HeaderBlock
    from pog.http2.machine import Machine
    from pog.http2.outbound import Output

# What a new stream costs beside its fields, in frames (see `Control.work`).
_WORK_OF_A_STREAM = 40


class Control:
    """Takes in whole frames.

    `events` gets what they mean; `now` is the time in seconds; both are set for each piece of input. `work` counts what
    was done for it, in frames that cost about 10 µs each.
    """

    def __init__(self, machine: Machine, output: Output, settings_sent: deque[bytes]) -> None:
        self._machine = machine
        self._output = output
        self._settings_sent = settings_sent
        self.header_blocks = HeaderBlocks(machine.largest_header_block)
        self.limits = AbuseLimits()
        self.events: list[AnyEvent] = []
        self.now = 0.0
        self.work = 0

    def frame_received(self, kind: int, flags: int, stream_id: int, frame: bytes) -> None:
        """A frame other than DATA, or any frame while a header block is incomplete. Raises ProtocolError."""
        body = frame[frames.HEADER_BYTES :]
        try:
            if self.header_blocks.incomplete:
                self._block_received(self.header_blocks.continuation(kind, flags, stream_id, body))
            elif kind == frames.WINDOW_UPDATE:
                self._window_update(stream_id, body)
            elif kind == frames.HEADERS:
                self._block_received(self.header_blocks.headers(flags, stream_id, body))
            elif kind == frames.RST_STREAM:
                self._rst_stream(stream_id, body)
            elif kind == frames.GOAWAY:
                self._goaway(stream_id, body)
            elif kind == frames.PRIORITY:
                self._priority(stream_id, body)
            elif kind == frames.CONTINUATION:
                raise ProtocolError("CONTINUATION without a header block")
            elif kind == frames.PUSH_PROMISE:
                raise ProtocolError("PUSH_PROMISE, though push is off")
            elif kind == frames.SETTINGS:
                self._settings(flags, stream_id, frame)
            else:
                self.limits.spend(Abuse.CHATTER, self.now)
                if kind == frames.PING:
                    self._give_to_h2(frame)
        except StreamError as error:
            self.stream_failed(error)

    # The connection's own frames

    def _settings(self, flags: int, stream_id: int, frame: bytes) -> None:
        acknowledges, empty = bool(flags & frames.ACK), len(frame) == frames.HEADER_BYTES
        self.limits.spend(Abuse.CHATTER if acknowledges or empty else Abuse.SETTINGS, self.now)
        if acknowledges and empty and not stream_id:
            if self._settings_sent and (token := self._settings_sent.popleft()):
                self.events.append(ProbeAnswered(token))
                return
        self._give_to_h2(frame)

    def _give_to_h2(self, frame: bytes) -> None:
        machine = self._machine
        self.events += machine.receive_data(frame)
        if machine._data_to_send:
            self._output.chunks.append(machine.data_to_send())

    def _goaway(self, stream_id: int, body: bytes) -> None:
        if stream_id:
            raise ProtocolError("GOAWAY on a stream")
        if len(body) < 8:
            raise FrameDataMissingError("GOAWAY must have at least 8 bytes")
        self.limits.spend(Abuse.CHATTER, self.now)
        machine = self._machine
        last = frames.unpack_number(body[:4])[0] & frames.LARGEST_STREAM_ID
        self.events.append(GoAwayReceived(last, frames.unpack_number(body[4:8])[0], body[8:]))
        if machine.client:
            # RFC 9113 section 6.8: the peer has not acted on streams above the last one.
            for stream in [stream for number, stream in machine.streams.items() if number > last]:
                self.events.append(machine.forget_stream(stream))

    # Header blocks

    def _block_received(self, block: HeaderBlock | None) -> None:
        if block is None:
            return
        machine, limits, stream_id = self._machine, self.limits, block.stream_id
        known, before = stream_id in machine.streams, machine.decoder.work
        try:
            refuse = bool(limits.over_since) and limits.refuses(self.now)
            events = machine.receive_block(stream_id, block.data, block.ends, refuse=refuse)
            if block.depends_on == stream_id:
                raise StreamError(stream_id, ErrorCodes.PROTOCOL_ERROR, "a stream that depends on itself")
            self.events += events
        except StreamError as error:
            self.stream_failed(error, at_work=known)
        work = machine.decoder.work - before
        self.work += work
        if not known:
            self.work += _WORK_OF_A_STREAM
            work += 1
        if work:
            limits.spend(Abuse.FIELDS, self.now, work)
        if block.ends:
            machine.remove_if_closed(stream_id)

    # Frames of a stream

    def _priority(self, stream_id: int, body: bytes) -> None:
        if not stream_id:
            raise ProtocolError("PRIORITY on stream 0")
        self.limits.spend(Abuse.CHATTER, self.now)
        is_open = stream_id in self._machine.streams
        if len(body) != PRIORITY_BYTES:
            if is_open:
                # RFC 9113 section 6.3: an error of the stream.
                raise StreamError(stream_id, ErrorCodes.FRAME_SIZE_ERROR, "PRIORITY must have 5 bytes")
        elif dependency(body) == stream_id:
            # RFC 7540 section 5.3.1: an error of the stream; one that is idle cannot be reset (RFC 9113 section 6.4).
            if is_open:
                raise StreamError(stream_id, ErrorCodes.PROTOCOL_ERROR, "a stream that depends on itself")
            if self._machine.is_idle(stream_id):
                raise ProtocolError("a stream that depends on itself")

    def _rst_stream(self, stream_id: int, body: bytes) -> None:
        machine = self._machine
        if not stream_id:
            raise ProtocolError("RST_STREAM on stream 0")
        if len(body) != 4:
            raise FrameDataMissingError("RST_STREAM must have 4 bytes")
        stream = machine.streams.get(stream_id)
        if stream is None:
            # RFC 9113 section 6.4 makes a reset of an idle stream an error of the connection. haproxy 2.6 sends one for
            # a request that it could not pass on (more than 101 fields, WebSocket), so that any stranger could end
            # everybody's streams; as long as there are some, it is ignored.
            if not machine.streams:
                machine.expect_known(stream_id)
            # One reset may cross our own end of the stream (section 5.1); others carry nothing.
            if not machine.crossed_reset(stream_id):
                self.limits.spend(Abuse.CHATTER, self.now)
            return
        if not machine.client and not stream.state_machine.headers_sent:
            self.limits.spend(Abuse.RAPID_RESET, self.now)
        self.events += machine.receive_reset(stream, frames.unpack_number(body)[0])
        machine.remove_if_closed(stream_id)

    def _window_update(self, stream_id: int, body: bytes) -> None:
        if len(body) != 4:
            raise FrameDataMissingError("WINDOW_UPDATE must have 4 bytes")
        increment = frames.unpack_number(body)[0] & LARGEST_WINDOW
        machine = self._machine
        if not stream_id:
            # RFC 9113 sections 6.9 and 6.9.1: on the connection both are errors of the connection.
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
        before = stream.outbound_flow_control_window
        # On a stream they are errors of the stream.
        if not increment:
            raise StreamError(stream_id, ErrorCodes.PROTOCOL_ERROR, "WINDOW_UPDATE by zero")
        if before + increment > LARGEST_WINDOW:
            raise StreamError(stream_id, ErrorCodes.FLOW_CONTROL_ERROR, "the window was opened over 2^31-1")
        stream.outbound_flow_control_window = before + increment
        if before <= 0:
            self.events.append(WindowOpened(stream_id))

    def stream_failed(self, error: StreamError, *, at_work: bool = True) -> None:
        """Ends one stream for what the peer did. `at_work`: its request had been given to its owner.

        Raises DenialOfServiceError when that has happened too often.
        """
        machine, stream_id = self._machine, error.stream_id
        stream = machine.streams.get(stream_id)
        code: int = error.error_code
        if stream is None:
            if code != ErrorCodes.REFUSED_STREAM:
                self.limits.spend(Abuse.STRAY, self.now)
            self._output.chunks.append(frames.rst_stream(stream_id, code))
            return
        if not machine.client and not at_work and isinstance(error, FieldsTooLarge):
            # RFC 9113 section 8.1: after a whole answer the rest of the request is not wanted.
            self._answer_too_large(stream_id)
            code = ErrorCodes.NO_ERROR
        elif not machine.client and at_work and not stream.state_machine.headers_sent:
            self.limits.spend(Abuse.RAPID_RESET, self.now)
        machine.fail_stream(stream)
        self.events.append(StreamFailed(stream_id, code, str(error)))
        self._output.chunks.append(frames.rst_stream(stream_id, code))

    def _answer_too_large(self, stream_id: int) -> None:
        """431 for a request (RFC 6585 section 5)."""
        block = self._machine.encoder.encode_list([(":status", "431"), ("content-length", "0")])
        largest = self._machine.max_outbound_frame_size
        self._output.chunks.append(frames.headers(stream_id, block, largest, end_stream=True))
