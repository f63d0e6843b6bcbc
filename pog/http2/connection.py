"""One HTTP/2 connection without I/O, the same for both roles: bytes in, events out; orders in, bytes out.

    receive_data(bytes, now) -> events          what the peer did
    send_headers, queue, end_stream, ...        what we want
    pull(room), data_to_send() -> chunks        what is to be written

States, header compression and settings are h2's (machine.py). Frames are split in inbound.py; the order of the streams'
DATA is the scheduler's. A DATA frame is nine bytes in front of slices of what was queued: nothing is copied but small
pieces.
"""

from __future__ import annotations

import binascii
from collections import deque
from typing import TYPE_CHECKING

from h2.connection import ConnectionInputs
from h2.exceptions import ProtocolError, StreamClosedError
from h2.stream import StreamInputs
from hyperframe.exceptions import HyperframeError

from pog.http2 import frames
from pog.http2.control import Output
from pog.http2.fields import check_sent
from pog.http2.inbound import Inbound
from pog.http2.machine import Machine
from pog.http2.scheduler import Scheduler, SendQueue
from pog.http2.stalls import Stalls

if TYPE_CHECKING:
    from collections.abc import Callable

    from pog.http2.config import ConnectionConfig
    from pog.http2.control import AnyEvent
    from pog.http2.fields import Headers
    from pog.http2.machine import MachineStream
    from pog.http2.scheduler import Chunk, Piece
    from pog.http2.windows import Budget

# One turn of a stream, in bytes: alone, and when others wait. 64 KiB take 52 ms at 10 Mbit/s; half of it made 16
# downloads at once a fifth slower on loopback.
_QUANTUM_ALONE = 128 * 1024
_QUANTUM_CONTENDED = 64 * 1024
# Frames up to this size are joined with their header: one buffer is cheaper than two.
_JOIN_BYTES = 2048


class Connection:
    """`budget` is shared by all connections of the process. `clock`, in seconds, only times the stalls; the default
    stands still."""

    def __init__(
        self, config: ConnectionConfig, budget: Budget, *, client: bool, clock: Callable[[], float] = float
    ) -> None:
        self.machine = Machine(config, client=client)
        self.scheduler = Scheduler()
        self.budget = budget
        # Streams with data and without a window, and the connection when its own window is what they wait for.
        self.stream_stalls = Stalls(clock)
        self.connection_stalls = Stalls(clock)
        self._stalled = False
        self._config = config
        self._output = Output()
        # One entry per SETTINGS frame that the peer has not acknowledged: the token of a probe, or b"" for h2's own.
        self._settings_sent: deque[bytes] = deque()
        self._inbound = Inbound(self.machine, self._output, budget, self._settings_sent)
        self._data_frames_at_ping = -1
        # Frames that wait for company.
        self._later: list[bytes] = []

    # Set-up

    def initiate(self) -> None:
        """Queues the preface: what must come before anything else."""
        self.machine.initiate_connection()
        self._after_preface()

    def initiate_upgrade(self, settings_header: bytes) -> MachineStream:
        """The server's preface after an HTTP/1.1 request with Upgrade: h2c; stream 1 is that request.

        Raises ProtocolError when HTTP2-Settings is malformed.
        """
        try:
            self.machine.initiate_upgrade_connection(settings_header)
        except (binascii.Error, HyperframeError) as error:
            raise ProtocolError(f"malformed HTTP2-Settings: {error}") from error
        self._after_preface()
        return self.machine.streams[1]

    def _after_preface(self) -> None:
        self._settings_sent.append(b"")
        self._take_output()
        window = self.machine.window
        increment = window.max_window_size - window.current_window_size
        if increment > 0:
            window.current_window_size += increment
            self._output.chunks.append(frames.window_update(0, increment))

    # What the peer does

    def receive_data(self, data: bytes, now: float) -> list[AnyEvent]:
        """`now` in seconds. After ConnectionFailed nothing more is taken in."""
        return self._inbound.receive_data(data, now)

    @property
    def unfinished(self) -> bool:
        """Whether more was received than could be taken in at once: the rest is, by another call without bytes."""
        return self._inbound.unfinished

    @property
    def failed(self) -> bool:
        return self._inbound.failed

    @property
    def rtt(self) -> float | None:
        """The measured round trip in seconds; windows grow only when it is known."""
        return self._inbound.rtt

    @rtt.setter
    def rtt(self, seconds: float) -> None:
        self._inbound.rtt = seconds

    # Orders

    @property
    def capacity(self) -> int:
        """How many more streams may be opened now."""
        machine = self.machine
        if machine.highest_outbound_stream_id >= frames.LARGEST_STREAM_ID - 1:
            return 0
        return max(0, machine.most_peer_streams - len(machine.streams))

    def open_stream(self, headers: Headers, *, end_stream: bool = False) -> MachineStream:
        """Sends a request. The caller has looked at `capacity`. Raises ValueError for headers that may not be sent."""
        machine = self.machine
        block = machine.encoder.encode_list(headers)
        machine.state_machine.process_input(ConnectionInputs.SEND_HEADERS)
        stream = machine.open_stream(
            machine.highest_outbound_stream_id + 2 if machine.highest_outbound_stream_id else 1
        )
        stream.request_method = dict(headers).get(":method", "").encode()
        self._send_block(stream, block, StreamInputs.SEND_HEADERS, end_stream)
        return stream

    def send_headers(self, stream: MachineStream, headers: Headers, *, end_stream: bool = False) -> None:
        """Sends a response head or trailers at once, so before what is queued.

        Raises StreamClosedError, ProtocolError in a wrong state, and ValueError for headers that may not be sent.
        """
        if stream.closed:
            raise StreamClosedError(stream.stream_id)
        block = self.machine.encoder.encode_list(headers)
        informational = bool(headers) and headers[0][0] == ":status" and headers[0][1].startswith("1")
        kind = StreamInputs.SEND_INFORMATIONAL_HEADERS if informational else StreamInputs.SEND_HEADERS
        self._send_block(stream, block, kind, end_stream)

    def _send_block(self, stream: MachineStream, block: bytes, kind: StreamInputs, end_stream: bool) -> None:
        machine = self.machine
        stream.state_machine.process_input(kind)
        if end_stream:
            stream.state_machine.process_input(StreamInputs.SEND_END_STREAM)
        largest = machine.max_outbound_frame_size
        self._output.chunks.append(frames.headers(stream.stream_id, block, largest, end_stream=end_stream))
        if end_stream:
            machine.settle(stream.stream_id)

    def queue(self, queue: SendQueue, chunks: list[Chunk], size: int) -> None:
        """Queues DATA; `size` is the sum of the chunks in bytes."""
        queue.add(chunks, size)
        self._wake(queue)

    def send_short(self, queue: SendQueue, chunks: list[Chunk], size: int) -> bool:
        """Sends DATA at once, where it is short, may be sent, and nothing waits; false when it is to be queued."""
        machine, stream = self.machine, queue.machine
        if (
            size > _JOIN_BYTES
            or queue.size
            or len(self.scheduler)
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

    def _wake(self, queue: SendQueue) -> None:
        if queue.ready or not queue.size:
            return
        if queue.machine.outbound_flow_control_window > 0:
            self.scheduler.wake(queue)
        else:
            self.stream_stalls.begin(queue)

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
            stream.state_machine.process_input(StreamInputs.SEND_END_STREAM)
            self._output.chunks.append(frames.header(0, frames.DATA, frames.END_STREAM, stream.stream_id))
            self.machine.settle(stream.stream_id)

    def pull(self, room: int) -> list[SendQueue]:
        """Moves about `room` bytes of DATA from the queues to the output, in the scheduler's order and as far as
        windows allow; returns the queues that were served."""
        machine, scheduler = self.machine, self.scheduler
        served: list[SendQueue] = []
        if self._stalled and machine.outbound_flow_control_window > 0:
            self._stalled = False
            self.connection_stalls.end(None)
        while room > 0 and machine.outbound_flow_control_window > 0 and (queue := scheduler.next()) is not None:
            stream = queue.machine
            size = min(
                queue.size,
                _QUANTUM_CONTENDED if len(scheduler) else _QUANTUM_ALONE,
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
        if machine.outbound_flow_control_window <= 0 and len(scheduler):
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
        self.machine.outbound_flow_control_window -= size
        if size <= _JOIN_BYTES:
            self._output.chunks.append(b"".join((header, *pieces)))
        else:
            self._output.chunks.append(header)
            self._output.chunks += pieces
        if flags:
            queue.finished = True
            stream.state_machine.process_input(StreamInputs.SEND_END_STREAM)
            self.machine.settle(stream.stream_id)
        elif ends:
            self._finish(queue)

    def consumed(self, stream: MachineStream, size: int, now: float) -> None:
        """A reader took `size` bytes of the stream: its credit goes back."""
        if self._later:
            self._tell_later()
        window = stream.window
        if window.consumed(size) and stream.receives_data:
            shared = len(self.machine.streams) > 1
            increment = window.announce(now, self.rtt, may_grow=self.budget.may_grow, shared=shared)
            if increment:
                self._output.chunks.append(frames.window_update(stream.stream_id, increment))

    def widen(self, stream: MachineStream) -> None:
        """The stream has a reader that takes its content as it comes: it gets the usual window, if memory allows.

        That is told with the next output, or when content comes: a packet of its own would cost as much as a fifth of
        a short tunnel.
        """
        if stream.receives and self.budget.may_grow:
            increment = stream.window.widen(min(self._config.reader_window, self._config.stream_window_ceiling))
            if increment:
                self._later.append(frames.window_update(stream.stream_id, increment))

    def return_credit(self, now: float) -> None:
        """Returns the connection's credit that was kept back while the budget was exhausted."""
        window = self.machine.window
        if window.held and not self.budget.exhausted:
            increment = window.returned(window.held, now, None)
            if increment:
                self._output.chunks.append(frames.window_update(0, increment))

    def reset_stream(self, stream: MachineStream, error_code: int) -> None:
        """Does nothing to a stream that is closed."""
        if stream.closed:
            return
        stream.state_machine.process_input(StreamInputs.SEND_RST_STREAM)
        self._output.chunks.append(frames.rst_stream(stream.stream_id, error_code))
        self.machine.settle(stream.stream_id)

    def probe(self, token: bytes) -> None:
        """Asks the peer for a sign of life; ProbeAnswered brings back the token, which has 8 bytes.

        The probe is a PING when DATA came since the last one, otherwise an empty SETTINGS, which the peer must
        acknowledge as well: gRPC servers end a connection that PINGs thrice within 5 minutes while no data flows
        (gRPC proposal A8, «too_many_pings»).
        """
        if self._inbound.data_frames != self._data_frames_at_ping:
            self._data_frames_at_ping = self._inbound.data_frames
            self._output.chunks.append(frames.ping(token))
        else:
            self._settings_sent.append(token)
            self._output.chunks.append(frames.settings_without_values())

    @property
    def data_came_since_ping(self) -> bool:
        return self._inbound.data_frames != self._data_frames_at_ping

    def go_away(self, error_code: int, *, last_stream_id: int | None = None, debug: bytes = b"") -> None:
        """Tells the peer to open no streams above `last_stream_id`, by default the last one it opened."""
        last = self.machine.highest_inbound_stream_id if last_stream_id is None else last_stream_id
        self._output.chunks.append(frames.goaway(last, error_code, debug))

    # Bytes to write

    @property
    def has_output(self) -> bool:
        return bool(self._output.chunks)

    def data_to_send(self) -> list[Piece]:
        """What is to be written now; the caller must write all of it, in order."""
        chunks = self._output.chunks
        if chunks:
            self._tell_later()
            self._output.chunks = []
        return chunks

    def _tell_later(self) -> None:
        self._output.chunks += self._later
        self._later.clear()

    def _take_output(self) -> None:
        if self.machine._data_to_send:
            self._output.chunks.append(self.machine.data_to_send())
