"""The frames of a connection that are not DATA, as the receiving half takes them in (inbound.py).

1. WINDOW_UPDATE changes our send windows.
2. GOAWAY becomes an event; h2 must not see it, since it would close at once what may still go on.
3. Everything else is h2's, as whole frames; HEADERS and RST_STREAM in their usual form take a shorter way to it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from h2.errors import ErrorCodes
from h2.exceptions import DenialOfServiceError, FlowControlError, FrameDataMissingError, ProtocolError

from pog.http2 import frames
from pog.http2.abuse_limits import Abuse, AbuseLimits
from pog.http2.events import ConnectionFailed, DataReceived, GoAwayReceived, ProbeAnswered, WindowOpened
from pog.http2.windows import LARGEST_WINDOW

if TYPE_CHECKING:
    from collections import deque

    from h2.events import Event

    from pog.http2.machine import Machine

    AnyEvent = Event | DataReceived | GoAwayReceived | ProbeAnswered | WindowOpened | ConnectionFailed

# More parts than this has no header list that we would take (h2's own limit is 64).
_MOST_CONTINUATIONS = 16


class Output:
    """What is to be sent, in order."""

    __slots__ = ("chunks",)

    def __init__(self) -> None:
        self.chunks: list[bytes | memoryview] = []


class Control:
    """Takes in whole frames. What they mean is added to `_events`."""

    def __init__(self, machine: Machine, output: Output, settings_sent: deque[bytes]) -> None:
        self.machine = machine
        self._output = output
        self._settings_sent = settings_sent
        self._guard = AbuseLimits()
        self._events: list[AnyEvent] = []
        self._now = 0.0
        # The header block that is being collected: its stream (0: none), bytes and parts.
        self._block_stream = 0
        self._block_bytes = 0
        self._block_parts = 0

    def _whole_frame(self, kind: int, flags: int, stream_id: int, frame: bytes) -> None:
        """A frame other than DATA, or whatever comes while a header block is open."""
        if self._block_stream:
            self._continuation(kind, flags, frame)
        elif kind == frames.WINDOW_UPDATE:
            self._window_update(stream_id, frame)
        elif kind == frames.HEADERS:
            self._headers(flags, stream_id, frame)
        elif kind == frames.RST_STREAM:
            self._rst_stream(stream_id, frame)
        elif kind == frames.GOAWAY:
            self._goaway(stream_id, frame)
        elif kind == frames.CONTINUATION:
            raise ProtocolError("CONTINUATION without a header block")
        elif kind == frames.PUSH_PROMISE:
            raise ProtocolError("PUSH_PROMISE, though push is off")
        else:
            if kind == frames.SETTINGS and not flags & frames.ACK and len(frame) > frames.HEADER_BYTES:
                self._guard.spend(Abuse.SETTINGS, self._now)
            else:
                self._guard.spend(Abuse.CHATTER, self._now)
            if kind == frames.SETTINGS and flags & frames.ACK and len(frame) == frames.HEADER_BYTES and not stream_id:
                if self._settings_sent and (token := self._settings_sent.popleft()):
                    self._events.append(ProbeAnswered(token))
                    return
            self._feed(frame, stream_id)

    def _feed(self, frame: bytes, stream_id: int) -> None:
        """Gives h2 one frame the long way."""
        self._events += self.machine.receive_data(frame)
        self._after_h2(stream_id)

    def _after_h2(self, stream_id: int) -> None:
        if (answer := self._take_output()) and answer[3] == frames.RST_STREAM:
            self._guard.spend(Abuse.RAPID_RESET, self._now)
        self.machine.settle(stream_id)

    def _take_output(self) -> bytes:
        """What h2 answers to one frame: one frame, or none."""
        answer = self.machine.data_to_send() if self.machine._data_to_send else b""
        if answer:
            self._output.chunks.append(answer)
        return answer

    def _headers(self, flags: int, stream_id: int, frame: bytes) -> None:
        if not flags & frames.END_HEADERS:
            self._block_stream, self._block_bytes, self._block_parts = stream_id, len(frame), 0
        if flags & ~frames.END_STREAM != frames.END_HEADERS or not stream_id:
            self._feed(frame, stream_id)
            return
        block = frame[frames.HEADER_BYTES :]
        self._events += self.machine.receive_block(stream_id, block, bool(flags & frames.END_STREAM))
        self._after_h2(stream_id)

    def _continuation(self, kind: int, flags: int, frame: bytes) -> None:
        """h2 sees to it that nothing else comes between; the length is our business."""
        self._block_bytes += len(frame)
        self._block_parts += 1
        if self._block_bytes > self.machine.largest_header_block or self._block_parts > _MOST_CONTINUATIONS:
            raise DenialOfServiceError("a header block over our limit")
        stream_id = self._block_stream
        if kind == frames.CONTINUATION and flags & frames.END_HEADERS:
            self._block_stream = 0
        self._feed(frame, stream_id)

    def _rst_stream(self, stream_id: int, frame: bytes) -> None:
        if len(frame) != frames.HEADER_BYTES + 4 or not stream_id:
            self._feed(frame, stream_id)
            return
        machine = self.machine
        stream = machine.streams.get(stream_id)
        if stream is None:
            machine.expect_known(stream_id)
            self._guard.spend(Abuse.CHATTER, self._now)
            return
        if not machine.client and not stream.state_machine.headers_sent:
            self._guard.spend(Abuse.RAPID_RESET, self._now)
        self._events += machine.receive_reset(stream, frames.unpack_number(frame[frames.HEADER_BYTES :])[0])
        machine.settle(stream_id)

    def _window_update(self, stream_id: int, frame: bytes) -> None:
        if len(frame) != frames.HEADER_BYTES + 4:
            raise FrameDataMissingError("WINDOW_UPDATE must have 4 bytes")
        increment = frames.unpack_number(frame[frames.HEADER_BYTES :])[0] & LARGEST_WINDOW
        if not increment:
            raise ProtocolError("WINDOW_UPDATE by zero")
        machine = self.machine
        if not stream_id:
            machine.outbound_flow_control_window += increment
            if machine.outbound_flow_control_window > LARGEST_WINDOW:
                raise FlowControlError("the connection's window was opened over 2^31-1")
            return
        stream = machine.streams.get(stream_id)
        if stream is None:
            machine.expect_known(stream_id)
            return
        before = stream.outbound_flow_control_window
        if before + increment > LARGEST_WINDOW:
            self._guard.spend(Abuse.RAPID_RESET, self._now)
            self._events.append(machine.reset_stream_for(stream, ErrorCodes.FLOW_CONTROL_ERROR))
            self._output.chunks.append(frames.rst_stream(stream_id, ErrorCodes.FLOW_CONTROL_ERROR))
            return
        stream.outbound_flow_control_window = before + increment
        if before <= 0:
            self._events.append(WindowOpened(stream_id))

    def _goaway(self, stream_id: int, frame: bytes) -> None:
        body = frame[frames.HEADER_BYTES :]
        if stream_id:
            raise ProtocolError("GOAWAY on a stream")
        if len(body) < 8:
            raise FrameDataMissingError("GOAWAY must have at least 8 bytes")
        self._guard.spend(Abuse.CHATTER, self._now)
        last = frames.unpack_number(body[:4])[0] & frames.LARGEST_STREAM_ID
        self._events.append(GoAwayReceived(last, frames.unpack_number(body[4:8])[0], body[8:]))
        if self.machine.client:
            for stream in [stream for number, stream in self.machine.streams.items() if number > last]:
                self._events.append(self.machine.forget_stream(stream))
