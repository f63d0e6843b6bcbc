"""One HTTP/2 connection without I/O, the same for both roles: bytes in, events out; orders in, bytes out. [pure]

    receive_data(bytes, now) -> events                          what the peer did (inbound.py)
    outbound.send_headers, enqueue, end, pull, reset_stream     what we want (outbound.py)
    data_to_send() -> chunks                                    what is to be written

The states of streams and connection are h2's (machine.py), and so are settings.
"""

from __future__ import annotations

import binascii
from collections import deque
from typing import TYPE_CHECKING

from h2.connection import ConnectionInputs
from h2.exceptions import ProtocolError
from h2.stream import StreamInputs
from hyperframe.exceptions import HyperframeError

from pog.http2 import frames
from pog.http2.inbound import Inbound
from pog.http2.machine import Machine
from pog.http2.outbound import Outbound, Output

if TYPE_CHECKING:
    from collections.abc import Callable

    from pog.http2.config import ConnectionConfig
    from pog.http2.events import AnyEvent
    from pog.http2.fields import Headers
    from pog.http2.machine_stream import MachineStream
    from pog.http2.scheduler import Piece
    from pog.http2.windows import Budget


class Connection:
    """`budget` is shared by all connections of the process; `clock` gives the time in seconds. `outbound` sends what
    streams have to say."""

    def __init__(self, config: ConnectionConfig, budget: Budget, *, client: bool, clock: Callable[[], float]) -> None:
        self.budget = budget
        self._config = config
        self._clock = clock
        self._machine = Machine(config, client=client)
        self._output = Output()
        # One entry per SETTINGS frame that the peer has not acknowledged: the token of a probe, or b"" for h2's own.
        self._settings_sent: deque[bytes] = deque()
        self.outbound = Outbound(self._machine, self._output, clock)
        self._inbound = Inbound(self._machine, self._output, budget, self._settings_sent)
        self.unfinished = False
        self._data_frames_at_ping = -1
        # Frames that wait until something else is sent, too.
        self._deferred: list[bytes] = []

    # Set-up

    def initiate(self) -> None:
        """Queues the preface: what must come before anything else."""
        self._machine.initiate_connection()
        self._after_preface()

    def initiate_upgrade(self, settings_header: bytes) -> MachineStream:
        """The server's preface after an HTTP/1.1 request with Upgrade: h2c; stream 1 is that request.

        Raises ProtocolError when HTTP2-Settings is malformed.
        """
        try:
            self._machine.initiate_upgrade_connection(settings_header)
        except (binascii.Error, HyperframeError) as error:
            raise ProtocolError(f"malformed HTTP2-Settings: {error}") from error
        self._after_preface()
        return self._machine.streams[1]

    def _after_preface(self) -> None:
        self._settings_sent.append(b"")
        self._output.chunks.append(self._machine.data_to_send())
        window = self._machine.window
        # RFC 9113 section 6.9.2: no setting changes the connection's window.
        increment = window.max_window_size - window.current_window_size
        if increment > 0:
            window.current_window_size += increment
            self._output.chunks.append(frames.window_update(0, increment))

    # What the peer does

    def receive_data(self, data: bytes, now: float) -> list[AnyEvent]:
        """`now` in seconds. After ConnectionFailed nothing more is taken in.

        What is taken in at once is bounded. When it was not all, `unfinished` is true, and the rest is taken in by
        another call, which may bring no bytes.
        """
        events = self._inbound.receive_data(data, now)
        self.unfinished = self._inbound.unfinished
        return events

    @property
    def failed(self) -> bool:
        return self._inbound.failed

    @property
    def rtt(self) -> float | None:
        """The measured round trip in seconds; windows grow only when it is known."""
        return self._inbound.rtt

    @rtt.setter
    def rtt(self, seconds: float | None) -> None:
        self._inbound.rtt = seconds

    # Streams

    @property
    def active(self) -> int:
        """How many streams are open."""
        return len(self._machine.streams)

    @property
    def capacity(self) -> int:
        """How many more streams may be opened now."""
        machine = self._machine
        if machine.highest_outbound_stream_id >= frames.LARGEST_STREAM_ID - 1:
            return 0
        return max(0, machine.most_peer_streams - len(machine.streams))

    @property
    def last_peer_stream_id(self) -> int:
        """The highest stream identifier that the peer has used."""
        return self._machine.highest_inbound_stream_id

    def stream(self, stream_id: int) -> MachineStream | None:
        """An open stream."""
        return self._machine.streams.get(stream_id)

    def forget_streams(self) -> None:
        """The connection is gone: no stream waits any more."""
        self._machine.streams.clear()
        self.outbound.stream_stalls.end_all()
        self.outbound.connection_stalls.end_all()

    # Orders

    def open_stream(self, headers: Headers, *, end_stream: bool = False) -> MachineStream:
        """Sends a request. The caller has checked `capacity`. Raises ValueError for headers that may not be sent."""
        machine = self._machine
        block = machine.encoder.encode_list(headers)
        machine.state_machine.process_input(ConnectionInputs.SEND_HEADERS)
        stream = machine.open_stream(
            machine.highest_outbound_stream_id + 2 if machine.highest_outbound_stream_id else 1
        )
        stream.request_method = dict(headers).get(":method", "").encode()
        self.outbound.send_block(stream, block, StreamInputs.SEND_HEADERS, end_stream)
        return stream

    def reset_stream(self, stream: MachineStream, error_code: int) -> None:
        """Does nothing to a stream that is closed."""
        if stream.closed:
            return
        stream.state_machine.process_input(StreamInputs.SEND_RST_STREAM)
        self._output.chunks.append(frames.rst_stream(stream.stream_id, error_code))
        self._machine.remove_if_closed(stream.stream_id)

    def go_away(self, error_code: int, *, last_stream_id: int | None = None, debug: bytes = b"") -> None:
        """Sends GOAWAY: no streams above `last_stream_id` are taken; the default is the peer's last one."""
        last = self.last_peer_stream_id if last_stream_id is None else last_stream_id
        self._output.chunks.append(frames.goaway(last, error_code, debug))

    # Credit

    def consumed(self, stream: MachineStream, size: int) -> None:
        """A reader took `size` bytes of the stream: its credit goes back."""
        if self._deferred:
            self._send_deferred()
        window = stream.window
        if window.consumed(size) and stream.receives_data:
            shared = len(self._machine.streams) > 1
            increment = window.announce(self._clock(), self.rtt, may_grow=self.budget.may_grow, shared=shared)
            if increment:
                self._output.chunks.append(frames.window_update(stream.stream_id, increment))

    def widen(self, stream: MachineStream) -> None:
        """The stream has a reader that takes its content as it comes: it gets the usual window, if memory allows.

        WINDOW_UPDATE goes out with the next output, or when content comes: a packet of its own would cost as much as a
        fifth of a short tunnel.
        """
        if stream.receives and self.budget.may_grow:
            increment = stream.window.widen(min(self._config.reader_window, self._config.stream_window_ceiling))
            if increment:
                self._deferred.append(frames.window_update(stream.stream_id, increment))

    def return_credit(self) -> None:
        """Returns the connection's credit that was kept back while the budget was exhausted, if it is not now."""
        window = self._machine.window
        if window.unconsumed and not self.budget.exhausted:
            increment = window.returned(window.unconsumed, self._clock(), None)
            if increment:
                self._output.chunks.append(frames.window_update(0, increment))

    # Probes

    def probe(self, token: bytes) -> None:
        """Asks the peer for a sign of life; ProbeAnswered brings back the token, which has 8 bytes.

        The probe is a PING when DATA came since the last one, otherwise an empty SETTINGS, which the peer must
        acknowledge as well (RFC 9113 section 6.5.3): gRPC servers end a connection that PINGs thrice within 5 minutes
        while no data flows (gRPC proposal A8, «too_many_pings»).
        """
        if self.data_came_since_ping:
            self._data_frames_at_ping = self._inbound.data_frames
            self._output.chunks.append(frames.ping(token))
        else:
            self._settings_sent.append(token)
            self._output.chunks.append(frames.settings_without_values())

    @property
    def data_came_since_ping(self) -> bool:
        """Whether a DATA frame was received since the last probe by PING, or none was sent yet."""
        return self._inbound.data_frames != self._data_frames_at_ping

    # Bytes to write

    @property
    def has_output(self) -> bool:
        return bool(self._output.chunks)

    def data_to_send(self) -> list[Piece]:
        """What is to be written now; the caller must write all of it, in order."""
        chunks = self._output.chunks
        if chunks:
            if self._deferred:
                self._send_deferred()
            self._output.chunks = []
        return chunks

    def _send_deferred(self) -> None:
        self._output.chunks += self._deferred
        self._deferred.clear()
