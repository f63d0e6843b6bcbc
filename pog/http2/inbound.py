"""The receiving half of a connection: bytes to frames to events. [pure]

Frames are split here, from their nine bytes of header.

DATA is passed on as slices as it arrives, without waiting for the end of the frame. Its windows are counted when its
header has come. The connection's credit goes back at once, so a stream that is not read stops only itself; the stream's
own credit goes back when its reader took the bytes (`Connection.consumed`). Every other frame is control.py's.

A rule of the connection that the peer breaks ends in an h2 ProtocolError, and a rule of a stream in a StreamError.

The work of one call is bounded: many frames, or a few with many header fields, would keep the event loop from all other
connections. What is left is done by the next call, which may bring no bytes (`unfinished`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from h2.connection import ConnectionState
from h2.errors import ErrorCodes
from h2.events import StreamEnded
from h2.exceptions import (
    DenialOfServiceError,
    FrameDataMissingError,
    FrameTooLargeError,
    NoSuchStreamError,
    ProtocolError,
    StreamClosedError,
)
from h2.stream import StreamInputs

from pog.http2 import frames
from pog.http2.abuse_limits import Abuse
from pog.http2.control import Control
from pog.http2.errors import StreamError
from pog.http2.events import ConnectionFailed, DataReceived

if TYPE_CHECKING:
    from collections import deque

    from pog.http2.events import AnyEvent
    from pog.http2.machine import Machine
    from pog.http2.machine_stream import MachineStream
    from pog.http2.outbound import Output
    from pog.http2.windows import Budget

# Smaller slices are copied: a small view would keep the whole read in memory, and is no faster.
_COPY_BYTES = 4096
# The most work of one call, in frames (see `Control.work`): about 10 ms.
_MOST_WORK = 1000


class Inbound:
    """Takes in what the peer sends. `rtt` is the measured round trip in seconds, for the growth of windows."""

    def __init__(self, machine: Machine, output: Output, budget: Budget, settings_sent: deque[bytes]) -> None:
        self.failed = False
        self.unfinished = False
        self.rtt: float | None = None
        self.data_frames = 0
        self._machine = machine
        self._output = output
        self._budget = budget
        self._control = Control(machine, output, settings_sent)
        self._limits = self._control.limits
        self._header_blocks = self._control.header_blocks
        self._preface = b"" if machine.client else frames.PREFACE
        self._rest = b""
        self._events: list[AnyEvent] = []
        self._now = 0.0
        # The DATA frame that is being passed on: its stream (None: it is dropped), and what is still to come.
        self._stream: MachineStream | None = None
        self._data_left = 0
        self._padding_left = 0
        self._ends = False

    def receive_data(self, data: bytes, now: float) -> list[AnyEvent]:
        """`now` in seconds. After ConnectionFailed nothing more is taken in."""
        if self.failed:
            return []
        control = self._control
        events: list[AnyEvent] = []
        self._events = control.events = events
        self._now = control.now = now
        control.work = 0
        self.unfinished = False
        try:
            self._split(data)
        except NoSuchStreamError as error:  # h2's text is the bare number
            state = "is closed" if isinstance(error, StreamClosedError) else "was never opened"
            self._fail(error.error_code, f"a frame on stream {error.stream_id}, which {state}")
        except ProtocolError as error:
            self._fail(error.error_code, str(error))
        return events

    def _fail(self, error_code: int, reason: str) -> None:
        self.failed = True
        self.unfinished = False
        self._rest = b""
        # RFC 9113 section 5.4.1: GOAWAY says why the connection ends.
        goaway = frames.goaway(self._machine.highest_inbound_stream_id, error_code, reason.encode()[:256])
        self._output.chunks.append(goaway)
        self._events.append(ConnectionFailed(error_code, reason))

    def _split(self, data: bytes) -> None:
        if self._rest:
            data = self._rest + data
            self._rest = b""
        size = len(data)
        pos = self._read_preface(data) if self._preface else 0
        view: memoryview | None = None
        while pos < size:
            if self._data_left:
                count = min(size - pos, self._data_left)
                if self._stream is not None:
                    if count <= _COPY_BYTES:
                        piece: bytes | memoryview = data[pos : pos + count]
                    else:
                        view = view or memoryview(data)
                        piece = view[pos : pos + count]
                    self._events.append(DataReceived(self._stream.stream_id, piece))
                pos += count
                self._data_left -= count
                if not self._data_left and not self._padding_left:
                    self._end_of_data()
            elif self._padding_left:
                count = min(size - pos, self._padding_left)
                pos += count
                self._padding_left -= count
                if not self._padding_left:
                    self._end_of_data()
            else:
                tired = self._control.work >= _MOST_WORK
                taken = 0 if tired else self._frame(data, pos, size)
                if not taken:
                    self._rest = data[pos:]
                    self.unfinished = tired
                    return
                pos += taken

    def _read_preface(self, data: bytes) -> int:
        """RFC 9113 section 3.4: what is no preface is an error of the connection, which h2 finds."""
        count = min(len(data), len(self._preface))
        self._machine.receive_data(data[:count])
        self._preface = self._preface[count:]
        return count

    def _frame(self, data: bytes, pos: int, size: int) -> int:
        """Takes the frame at `pos`, of DATA only the header; returns the bytes taken, 0 while some are missing."""
        if size - pos < frames.HEADER_BYTES:
            return 0
        control = self._control
        control.work += 1
        high, low, kind, flags, stream_id = frames.unpack_header(data, pos)
        length: int = (high << 16) | low
        stream_id &= frames.LARGEST_STREAM_ID
        if length > self._machine.max_inbound_frame_size:
            # RFC 9113 section 4.2. DATA, too, changes the connection: its window.
            raise FrameTooLargeError(f"a frame of {length} bytes")
        start = pos + frames.HEADER_BYTES
        if kind == frames.DATA and not self._header_blocks.incomplete:
            if not stream_id:
                raise ProtocolError("DATA on stream 0")
            padding = 0
            if flags & frames.PADDED:
                if not length:
                    raise FrameDataMissingError("DATA without the length of its padding")
                if start >= size:
                    return 0
                padding = data[start] + 1
                if padding > length:
                    # RFC 9113 section 6.1: an error of the connection.
                    raise ProtocolError("DATA with more padding than content")
            self._begin_data(stream_id, length, padding, bool(flags & frames.END_STREAM))
            return frames.HEADER_BYTES + (1 if padding else 0)
        if kind in (frames.HEADERS, frames.CONTINUATION) and length > self._machine.largest_header_block:
            raise DenialOfServiceError("a header block over our limit")
        end = start + length
        if end > size:
            return 0
        control.frame_received(kind, flags, stream_id, data[pos:end])
        return end - pos

    def _begin_data(self, stream_id: int, length: int, padding: int, ends: bool) -> None:
        machine = self._machine
        self.data_frames += 1
        stream = machine.streams.get(stream_id)
        if stream is None and machine.state_machine.state is ConnectionState.IDLE:
            raise NoSuchStreamError(stream_id)
        # RFC 9113 section 6.9: DATA counts against the connection's window whatever becomes of its stream.
        window = machine.window
        window.window_consumed(length)
        if not self._budget.exhausted:
            increment = window.returned(window.unconsumed, self._now, None)
            if increment:
                self._output.chunks.append(frames.window_update(0, increment))
        try:
            if stream is None or not stream.receives_data:
                self._stray_data(stream_id, stream, length - padding)
                stream = None
            else:
                stream.take_data(length, padding, ends)
                if padding:
                    self._return_padding(stream, padding)
                if length > padding:
                    self._limits.useful()
                elif not ends:
                    self._limits.spend(Abuse.CHATTER, self._now)
        except StreamError as error:
            self._control.stream_failed(error)
            stream = None
        self._stream = stream
        self._ends = ends
        self._data_left = length - padding
        self._padding_left = padding - 1 if padding else 0
        if not self._data_left and not self._padding_left:
            self._end_of_data()

    def _return_padding(self, stream: MachineStream, padding: int) -> None:
        """RFC 9113 section 6.9.1: padding counts against the window as well; no reader will consume it."""
        increment = stream.window.returned(padding, self._now, self.rtt)
        if increment:
            self._output.chunks.append(frames.window_update(stream.stream_id, increment))

    def _stray_data(self, stream_id: int, stream: MachineStream | None, size: int) -> None:
        """DATA that no stream may receive. It is dropped; its credit for the connection has gone back already."""
        if stream is not None:
            # RFC 9113 sections 5.1, "half-closed (remote)", and 8.1: an error of the stream.
            code, reason = ErrorCodes.STREAM_CLOSED, "DATA behind END_STREAM"
            if stream.receives:
                code, reason = ErrorCodes.PROTOCOL_ERROR, "DATA before HEADERS"
            raise StreamError(stream_id, code, reason)
        machine = self._machine
        machine.expect_known(stream_id)
        if machine.closed_by_peer(stream_id):
            raise StreamError(stream_id, ErrorCodes.STREAM_CLOSED, "DATA on a stream that its sender has closed")
        if not size:
            self._limits.spend(Abuse.CHATTER, self._now)

    def _end_of_data(self) -> None:
        stream, self._stream = self._stream, None
        if self._ends and stream is not None:
            stream.state_machine.process_input(StreamInputs.RECV_END_STREAM)
            self._events.append(StreamEnded(stream_id=stream.stream_id))
            self._machine.remove_if_closed(stream.stream_id)
