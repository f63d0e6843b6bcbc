"""h2's state machines, with what does not scale taken out.

h2 stays the authority for connection and stream states, SETTINGS and header rules. Changed here:

1. h2 counts open streams by walking all of them at every new one. A stream that closes leaves its table at once here
   (`settle`), so the table's length is the count.
2. A stream over MAX_CONCURRENT_STREAMS is refused alone; h2 ends the connection, though a client may open streams
   before our SETTINGS have reached it (RFC 9113 section 5.1.2 allows both).
3. Late HEADERS on a stream that we have reset are dropped (RFC 9113 section 5.1, "closed"); h2 answers them with
   another reset.
4. Header checks are made once per known block (see hpack.py), and headers are text in the order they came.
5. Windows of streams and connection are ours (see windows.py), and GOAWAY is not h2's business: it would close.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from h2.config import H2Configuration
from h2.connection import AllowedStreamIDs, ConnectionInputs, H2Connection, _decode_headers
from h2.errors import ErrorCodes
from h2.events import StreamReset, TrailersReceived
from h2.exceptions import NoSuchStreamError, ProtocolError, StreamIDTooLowError
from h2.settings import SettingCodes, Settings
from h2.stream import H2Stream, StreamClosedBy, StreamInputs, StreamState
from h2.utilities import SizeLimitDict
from hyperframe.frame import HeadersFrame, RstStreamFrame

from pog.http2.hpack import KnownBlock, RememberingDecoder, RememberingEncoder
from pog.http2.windows import DEFAULT_WINDOW, ReceiveWindow

if TYPE_CHECKING:
    from collections.abc import Iterable

    from h2.events import Event, RequestReceived, ResponseReceived, StreamEnded
    from h2.utilities import HeaderValidationFlags
    from hpack.struct import Header
    from hyperframe.frame import Frame

    from pog.http2.config import ConnectionConfig

# How many closed streams are remembered, to tell a late frame from a wrong one; about 150 bytes each.
_CLOSED_STREAMS = 2048

_CONFIG_SERVER = H2Configuration(
    client_side=False,
    header_encoding=None,
    validate_outbound_headers=False,
    normalize_outbound_headers=False,
)
_CONFIG_CLIENT = H2Configuration(
    client_side=True,
    header_encoding=None,
    validate_outbound_headers=False,
    normalize_outbound_headers=False,
)


def _settings(config: ConnectionConfig, client: bool) -> dict[SettingCodes, int]:
    values = {
        SettingCodes.ENABLE_PUSH: 0,
        SettingCodes.INITIAL_WINDOW_SIZE: config.stream_window,
        SettingCodes.MAX_FRAME_SIZE: config.max_frame_size,
        SettingCodes.MAX_HEADER_LIST_SIZE: config.max_header_list_size,
    }
    if not client:
        values[SettingCodes.MAX_CONCURRENT_STREAMS] = config.max_concurrent_streams
    return values


class MachineStream(H2Stream):
    """One stream's state. `outbound_flow_control_window` is what we may send, `window` what the peer may send."""

    def __init__(self, stream_id: int, config: H2Configuration, receive: ReceiveWindow, send_window: int) -> None:
        super().__init__(stream_id, config, 0, send_window)
        self._inbound_window_manager = receive  # type: ignore[assignment]  # the same surface, as far as h2 uses it
        self.window = receive

    @property
    def receives(self) -> bool:
        """Whether the peer may send HEADERS or DATA now, apart from their order."""
        state = self.state_machine.state
        return state is StreamState.OPEN or state is StreamState.HALF_CLOSED_LOCAL

    @property
    def receives_data(self) -> bool:
        """Whether the peer may send DATA now."""
        machine = self.state_machine
        state = machine.state
        return (state is StreamState.OPEN or state is StreamState.HALF_CLOSED_LOCAL) and bool(machine.headers_received)

    @property
    def counts_content(self) -> bool:
        """Whether the peer announced how much DATA it will send."""
        return self._expected_content_length is not None

    def count_content(self, length: int, end_stream: bool) -> None:
        """Raises InvalidBodyLengthError when DATA does not add up to the announced content-length."""
        self._track_content_length(length, end_stream)

    def receive_headers(
        self, headers: Iterable[Header], end_stream: bool, header_encoding: bool | str | None
    ) -> tuple[list[Frame], list[Event]]:
        """As h2 does it, but what a known block was found to be is not found out again."""
        if not isinstance(headers, KnownBlock) or not headers.plain:
            return super().receive_headers(headers, end_stream, None)
        events = self.state_machine.process_input(StreamInputs.RECV_HEADERS)
        received = cast("RequestReceived | ResponseReceived | TrailersReceived", events[0])
        if end_stream:
            ended = self.state_machine.process_input(StreamInputs.RECV_END_STREAM)
            received.stream_ended = cast("StreamEnded", ended[0])
            events += ended
        elif type(received) is TrailersReceived:
            raise ProtocolError("Trailers must have END_STREAM set")
        self._expected_content_length = 0 if self.request_method == b"HEAD" else None
        checked = headers.checked.get(type(received))
        if checked is None:
            flags = self._build_hdr_validation_flags(events)
            checked = headers.checked[type(received)] = self._process_received_headers(headers, flags, None)
        received.headers = [*checked]
        return [], events

    def _process_received_headers(
        self, headers: Iterable[Header], header_validation_flags: HeaderValidationFlags, header_encoding: Any
    ) -> Any:
        """Text, in the order that it came in."""
        fields = super()._process_received_headers(headers, header_validation_flags, None)
        return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in fields]


class Machine(H2Connection):
    """h2's connection, for our lane beside it."""

    streams: dict[int, MachineStream]  # type: ignore[assignment]

    def __init__(self, config: ConnectionConfig, *, client: bool) -> None:
        super().__init__(_CONFIG_CLIENT if client else _CONFIG_SERVER)
        self.client = client
        self.encoder: RememberingEncoder = RememberingEncoder()
        self.decoder: RememberingDecoder = RememberingDecoder()
        self.local_settings = Settings(client, initial_values=_settings(config, client))
        self.max_inbound_frame_size = config.max_frame_size
        self.largest_header_block = self.decoder.max_header_list_size = config.max_header_list_size
        self.window = ReceiveWindow(max(config.connection_window, DEFAULT_WINDOW))
        self.window.current_window_size = DEFAULT_WINDOW
        self._inbound_flow_control_window_manager = self.window  # type: ignore[assignment]
        self._closed_streams = SizeLimitDict(size_limit=_CLOSED_STREAMS)
        self._ceiling = config.stream_window_ceiling
        self._forgotten = 0
        # What h2's settings say, as plain numbers: to ask them takes as long as to open half a stream.
        self._most_streams = self.local_settings.max_concurrent_streams
        self.most_peer_streams = self.remote_settings.max_concurrent_streams

    @property
    def open_outbound_streams(self) -> int:
        return len(self.streams) if self.client else 0

    @property
    def open_inbound_streams(self) -> int:
        return 0 if self.client else len(self.streams)

    def open_stream(self, stream_id: int) -> MachineStream:
        """A new stream of ours; the caller has looked at the peer's limit."""
        return self._begin_new_stream(stream_id, AllowedStreamIDs.ODD)

    def settle(self, stream_id: int) -> None:
        """To be called after whatever may have closed a stream: a closed one leaves the table."""
        stream = self.streams.get(stream_id)
        if stream is not None and stream.closed:
            del self.streams[stream_id]
            self._remember_closed(stream_id, stream.closed_by)

    def _remember_closed(self, stream_id: int, closed_by: StreamClosedBy | None) -> None:
        if len(self._closed_streams) >= _CLOSED_STREAMS:
            self._forgotten = max(self._forgotten, next(iter(self._closed_streams)))
        self._closed_streams[stream_id] = closed_by

    def closed_by_peer(self, stream_id: int) -> bool:
        """Whether the peer knows for certain that the stream is closed: it ended or reset it."""
        by = self._closed_streams.get(stream_id)
        return by is not None and by is not StreamClosedBy.SEND_RST_STREAM

    def _begin_new_stream(self, stream_id: int, allowed_ids: AllowedStreamIDs) -> MachineStream:
        outbound = (stream_id & 1) == self.client
        highest = self.highest_outbound_stream_id if outbound else self.highest_inbound_stream_id
        if stream_id <= highest:
            raise StreamIDTooLowError(stream_id, highest)
        if (stream_id & 1) != allowed_ids:
            raise ProtocolError("Invalid stream ID for peer.")
        window = ReceiveWindow(self.local_settings.initial_window_size, self._ceiling)
        stream = MachineStream(stream_id, self.config, window, self.remote_settings.initial_window_size)
        stream.max_outbound_frame_size = self.max_outbound_frame_size
        self.streams[stream_id] = stream
        if outbound:
            self.highest_outbound_stream_id = stream_id
        else:
            self.highest_inbound_stream_id = stream_id
        return stream

    def receive_block(self, stream_id: int, block: bytes, end_stream: bool) -> list[Event]:
        """A whole header block without padding or priority. Raises ProtocolError."""
        stream = self.streams.get(stream_id)
        if stream is not None:
            usual = stream.receives
        else:
            room = len(self.streams) < self._most_streams
            usual = room and not self.client and stream_id > self.highest_inbound_stream_id and stream_id & 1 == 1
        if not usual:
            frame = HeadersFrame(stream_id, block, flags=["END_HEADERS", "END_STREAM"][: 1 + end_stream])
            return self._receive_frame(frame)
        headers = _decode_headers(self.decoder, block)
        self.state_machine.process_input(ConnectionInputs.RECV_HEADERS)
        if stream is None:
            stream = self._begin_new_stream(stream_id, AllowedStreamIDs.ODD)
        return stream.receive_headers(headers, end_stream, None)[1]

    def receive_reset(self, stream: MachineStream, error_code: int) -> list[Event]:
        """The peer has reset an open stream."""
        self.state_machine.process_input(ConnectionInputs.RECV_RST_STREAM)
        return stream.stream_reset(RstStreamFrame(stream.stream_id, error_code=error_code))[1]

    def _receive_headers_frame(self, frame: HeadersFrame) -> tuple[list[Frame], list[Event]]:
        stream_id = frame.stream_id
        if stream_id not in self.streams:
            if self._is_late(stream_id):
                _decode_headers(self.decoder, frame.data)  # the table must stay in step with the peer's
                return [], []
            if self.client and stream_id & 1 == 0:
                raise ProtocolError("A server may not open a stream.")
            if not self.client and len(self.streams) >= self._most_streams:
                return self._refuse(frame)
        return super()._receive_headers_frame(frame)

    def _is_late(self, stream_id: int) -> bool:
        closed_by = self._closed_streams.get(stream_id)
        return closed_by is StreamClosedBy.SEND_RST_STREAM or (closed_by is None and stream_id <= self._forgotten)

    def _refuse(self, frame: HeadersFrame) -> tuple[list[Frame], list[Event]]:
        stream_id = frame.stream_id
        if stream_id <= self.highest_inbound_stream_id or stream_id & 1 == 0:
            return super()._receive_headers_frame(frame)
        self.state_machine.process_input(ConnectionInputs.RECV_HEADERS)
        _decode_headers(self.decoder, frame.data)
        self.highest_inbound_stream_id = stream_id
        self._remember_closed(stream_id, StreamClosedBy.SEND_RST_STREAM)
        return [RstStreamFrame(stream_id, error_code=ErrorCodes.REFUSED_STREAM)], []

    def expect_known(self, stream_id: int) -> None:
        """Raises NoSuchStreamError when a stream with that identifier was never opened."""
        outbound = (stream_id & 1) == self.client
        if not stream_id or stream_id > (
            self.highest_outbound_stream_id if outbound else self.highest_inbound_stream_id
        ):
            raise NoSuchStreamError(stream_id)

    def reset_stream_for(self, stream: MachineStream, error_code: ErrorCodes) -> StreamReset:
        """We reset the stream since the peer broke a rule on it; the frame is the caller's."""
        stream.state_machine.process_input(StreamInputs.SEND_RST_STREAM)
        self.settle(stream.stream_id)
        return StreamReset(stream_id=stream.stream_id, error_code=error_code, remote_reset=False)

    def forget_stream(self, stream: MachineStream) -> StreamReset:
        """The peer's GOAWAY says that it never saw this stream."""
        stream.state_machine.state = StreamState.CLOSED
        stream.state_machine.stream_closed_by = StreamClosedBy.RECV_RST_STREAM
        self.settle(stream.stream_id)
        return StreamReset(stream_id=stream.stream_id, error_code=ErrorCodes.REFUSED_STREAM, remote_reset=True)

    def _acknowledge_settings(self) -> list[Frame]:
        frames = super()._acknowledge_settings()
        self.most_peer_streams = self.remote_settings.max_concurrent_streams
        return frames

    def _terminate_connection(self, error_code: ErrorCodes) -> None:
        """GOAWAY is sent by the connection above, in one place."""
