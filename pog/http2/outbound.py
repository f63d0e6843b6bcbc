"""The sending half of a connection: header blocks, and DATA in the scheduler's order. [pure]

A DATA frame is nine bytes in front of slices of what was queued: nothing is copied but small pieces.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from h2.exceptions import StreamClosedError
from h2.stream import StreamInputs

from pog.http2 import frames
from pog.http2.fields import check_sent
from pog.http2.scheduler import Scheduler
from pog.http2.stalls import Stalls

if TYPE_CHECKING:
    from collections.abc import Callable

    from pog.http2.fields import Headers
    from pog.http2.machine import Machine
    from pog.http2.machine_stream import MachineStream
    from pog.http2.scheduler import Chunk, Piece, SendQueue

# One turn of a stream, in bytes: alone, and when others wait. 64 KiB take 52 ms at 10 Mbit/s; half of it made 16
# downloads at once a fifth slower on loopback.
_QUANTUM_ALONE = 128 * 1024
_QUANTUM_CONTENDED = 64 * 1024
# Frames up to this size, in bytes, are joined with their header: one buffer is cheaper than two.
_JOIN_BYTES = 2048


class Output:
    """What is to be sent, in order."""

    __slots__ = ("chunks",)

    def __init__(self) -> None:
        self.chunks: list[Piece] = []


class Outbound:
    """`stream_stalls`: streams with data and without a window; `connection_stalls`: the connection's own window is what
    they wait for. `clock` gives the time in seconds for them."""

    def __init__(self, machine: Machine, output: Output, clock: Callable[[], float]) -> None:
        self.scheduler = Scheduler()
        self.stream_stalls = Stalls(clock)
        self.connection_stalls = Stalls(clock)
        self._machine = machine
        self._output = output
        self._stalled = False

    def send_headers(self, stream: MachineStream, headers: Headers, *, end_stream: bool = False) -> None:
        """Sends a response head or trailers at once, so before what is queued.

        Raises StreamClosedError, ProtocolError in a wrong state, and ValueError for headers that may not be sent.
        """
        if stream.closed:
            raise StreamClosedError(stream.stream_id)
        block = self._machine.encoder.encode_list(headers)
        informational = bool(headers) and headers[0][0] == ":status" and headers[0][1].startswith("1")
        kind = StreamInputs.SEND_INFORMATIONAL_HEADERS if informational else StreamInputs.SEND_HEADERS
        self.send_block(stream, block, kind, end_stream)

    def send_block(self, stream: MachineStream, block: bytes, kind: StreamInputs, end_stream: bool) -> None:
        """Sends an encoded header block. Raises ProtocolError in a wrong state."""
        machine = self._machine
        stream.state_machine.process_input(kind)
        if end_stream:
            stream.state_machine.process_input(StreamInputs.SEND_END_STREAM)
        largest = machine.max_outbound_frame_size
        self._output.chunks.append(frames.headers(stream.stream_id, block, largest, end_stream=end_stream))
        if end_stream:
            machine.remove_if_closed(stream.stream_id)

    def enqueue(self, queue: SendQueue, chunks: list[Chunk], size: int) -> None:
        """Queues DATA; `size` is the sum of the chunks in bytes."""
        queue.add(chunks, size)
        if not queue.ready and size:
            if queue.machine.outbound_flow_control_window > 0:
                self.scheduler.wake(queue)
            else:
                self.stream_stalls.begin(queue)

    def send_short(self, queue: SendQueue, chunks: list[Chunk], size: int) -> bool:
        """Sends DATA at once, where it is short, may be sent, and nothing waits; false when it is to be queued."""
        machine, stream = self._machine, queue.machine
        if (
            size > _JOIN_BYTES
            or queue.size
            or self.scheduler.waiting
            or size > stream.outbound_flow_control_window
            or size > machine.outbound_flow_control_window
        ):
            return False
        stream.outbound_flow_control_window -= size
        machine.outbound_flow_control_window -= size
        self._output.chunks.append(b"".join((frames.header(size, frames.DATA, 0, stream.stream_id), *chunks)))
        return True

    def end(self, queue: SendQueue, trailers: Headers | None = None) -> None:
        """Ends our direction after what is queued, with END_STREAM or with trailers.

        Raises ValueError for trailers that may not be sent, before anything has changed.
        """
        if trailers:
            check_sent(trailers)
        queue.ends = True
        queue.trailers = trailers or None
        if not queue.size:
            self._finish(queue)

    def window_opened(self, queue: SendQueue) -> None:
        """The peer may have allowed this stream to send."""
        if queue.size and not queue.ready and queue.machine.outbound_flow_control_window > 0:
            self.stream_stalls.end(queue)
            self.scheduler.wake(queue)

    def _finish(self, queue: SendQueue) -> None:
        stream = queue.machine
        queue.finished = True
        if queue.trailers is not None:
            self.send_headers(stream, queue.trailers, end_stream=True)
        else:
            # An empty DATA frame needs no window (RFC 9113 section 6.9.1).
            stream.state_machine.process_input(StreamInputs.SEND_END_STREAM)
            self._output.chunks.append(frames.header(0, frames.DATA, frames.END_STREAM, stream.stream_id))
            self._machine.remove_if_closed(stream.stream_id)

    def pull(self, room: int) -> list[SendQueue]:
        """Moves about `room` bytes of DATA from the queues to the output, in the scheduler's order and as far as
        windows allow; returns the queues that were served."""
        machine, scheduler = self._machine, self.scheduler
        served: list[SendQueue] = []
        if self._stalled and machine.outbound_flow_control_window > 0:
            self._stalled = False
            self.connection_stalls.end(None)
        while room > 0 and machine.outbound_flow_control_window > 0 and (queue := scheduler.next()) is not None:
            stream = queue.machine
            size = min(
                queue.size,
                _QUANTUM_CONTENDED if scheduler.waiting else _QUANTUM_ALONE,
                machine.max_outbound_frame_size,
                machine.outbound_flow_control_window,
                stream.outbound_flow_control_window,
            )
            if size <= 0:
                if queue.size:
                    self.stream_stalls.begin(queue)
                continue
            self._send_data(queue, size)
            room -= size
            served.append(queue)
            if queue.size:
                if stream.outbound_flow_control_window > 0:
                    scheduler.again(queue)
                else:
                    self.stream_stalls.begin(queue)
        if machine.outbound_flow_control_window <= 0 and scheduler.waiting:
            self._stalled = True
            self.connection_stalls.begin(None)
        return served

    def _send_data(self, queue: SendQueue, size: int) -> None:
        stream = queue.machine
        pieces = queue.take(size)
        ends = queue.ends and not queue.size
        flags = frames.END_STREAM if ends and queue.trailers is None else 0
        header = frames.header(size, frames.DATA, flags, stream.stream_id)
        stream.outbound_flow_control_window -= size
        self._machine.outbound_flow_control_window -= size
        if size <= _JOIN_BYTES:
            self._output.chunks.append(b"".join((header, *pieces)))
        else:
            self._output.chunks.append(header)
            self._output.chunks += pieces
        if flags:
            queue.finished = True
            stream.state_machine.process_input(StreamInputs.SEND_END_STREAM)
            self._machine.remove_if_closed(stream.stream_id)
        elif ends:
            self._finish(queue)
