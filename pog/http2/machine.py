"""h2's state machines, with what does not scale taken out.

h2 stays the authority for connection and stream states, SETTINGS and header rules. Changed here:

1. h2 counts open streams by walking all of them at every new one. A stream that closes leaves its table at once here
   (`settle`), so the table's length is the count.
2. What a peer does wrong on one stream is that stream's error (errors.py); h2 ends the connection for a malformed
   message, and for a stream over MAX_CONCURRENT_STREAMS.
3. Late HEADERS on a stream that we have reset are dropped (RFC 9113 section 5.1, "closed"); h2 answers them with
   another reset.
4. Fields are checked by fields.py, once per known block (see hpack.py), and are text in the order they came.
5. Windows of streams and connection are ours (see windows.py), and GOAWAY is not h2's business: it would close.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn, cast

from h2.config import H2Configuration
from h2.connection import AllowedStreamIDs, ConnectionInputs, H2Connection
from h2.errors import ErrorCodes
from h2.events import InformationalResponseReceived, RequestReceived, ResponseReceived, StreamReset, TrailersReceived
from h2.exceptions import NoSuchStreamError, ProtocolError, StreamClosedError, StreamIDTooLowError
from h2.settings import SettingCodes, Settings
from h2.stream import H2Stream, StreamClosedBy, StreamInputs, StreamState
from h2.utilities import SizeLimitDict
from hyperframe.frame import RstStreamFrame

from pog.http2.errors import FieldsTooLarge, StreamError
from pog.http2.fields import check_request, check_response, check_trailers, content_length, joined_cookies
from pog.http2.hpack import RememberingDecoder, RememberingEncoder
from pog.http2.windows import DEFAULT_WINDOW, ReceiveWindow

if TYPE_CHECKING:
    from h2.events import Event, StreamEnded
    from hyperframe.frame import Frame

    from pog.http2.config import ConnectionConfig
    from pog.http2.hpack import KnownBlock

    HeadersEvent = RequestReceived | ResponseReceived | TrailersReceived | InformationalResponseReceived

# How many closed streams are remembered, to tell a late frame from a wrong one; about 150 bytes each.
_CLOSED_STREAMS = 2048

_CHECKS = {
    RequestReceived: check_request,
    ResponseReceived: check_response,
    InformationalResponseReceived: check_response,
    TrailersReceived: check_trailers,
}

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

    def take_data(self, length: int, padding: int, ends: bool) -> None:
        """The header of a DATA frame has come. Raises StreamError."""
        window = self.window
        if length > window.current_window_size and length:
            # RFC 9113 section 6.9.1 leaves the choice; the connection's own window has been kept to.
            raise StreamError(self.stream_id, ErrorCodes.FLOW_CONTROL_ERROR, "more content than the stream's window")
        window.current_window_size -= length
        window.held += length
        if self._expected_content_length is not None:
            self._actual_content_length += length - padding
            self._check_length(ends)

    def _check_length(self, ends: bool) -> None:
        expected, actual = self._expected_content_length, self._actual_content_length
        if expected is not None and (actual > expected or (ends and actual != expected)):
            reason = f"content of {actual} bytes, though content-length says {expected}"
            raise StreamError(self.stream_id, ErrorCodes.PROTOCOL_ERROR, reason)

    def take_headers(self, block: KnownBlock, ends: bool) -> list[Event]:
        """A header block has come. Raises StreamError."""
        try:
            return self._take_headers(block, ends)
        except StreamError:
            raise
        except ProtocolError as error:
            raise StreamError(self.stream_id, error.error_code, str(error)) from error

    def _take_headers(self, block: KnownBlock, ends: bool) -> list[Event]:
        machine = self.state_machine
        informational = bool(machine.client) and not block.plain and _is_informational(block)
        step = StreamInputs.RECV_INFORMATIONAL_HEADERS if informational else StreamInputs.RECV_HEADERS
        events = machine.process_input(step)
        received = cast("HeadersEvent", events[0])
        if not block.complete:
            raise FieldsTooLarge(self.stream_id)
        kind = type(received)
        checked = block.checked.get(kind)
        if checked is None:
            _CHECKS[kind](block)
            fields = joined_cookies(cast("list[tuple[bytes, bytes]]", block))
            checked = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in fields]
            block.checked[kind] = checked
        received.headers = [*checked]  # type: ignore[list-item]  # text
        if informational:
            if ends:
                raise ProtocolError("an informational response with END_STREAM")
            return events
        if kind is TrailersReceived:
            if not ends:
                raise ProtocolError("trailers without END_STREAM")
        else:
            self._expect_content(block)
        if ends:
            # An answer to HEAD, or with 304, may say how long its content would have been (RFC 9110 section 8.6).
            if kind is not ResponseReceived:
                self._check_length(ends)
            ended = machine.process_input(StreamInputs.RECV_END_STREAM)
            received.stream_ended = cast("StreamEnded", ended[0])  # type: ignore[union-attr]  # not informational
            events += ended
        return events

    def _expect_content(self, block: KnownBlock) -> None:
        if self.request_method == b"HEAD":
            self._expected_content_length = 0
        elif not block.plain:
            self._expected_content_length = content_length(cast("list[tuple[bytes, bytes]]", block))


def _is_informational(block: KnownBlock) -> bool:
    return any(name == b":status" and value.startswith(b"1") for name, value in block)


class Machine(H2Connection):
    """h2's connection, for our lane beside it."""

    streams: dict[int, MachineStream]  # type: ignore[assignment]

    def __init__(self, config: ConnectionConfig, *, client: bool) -> None:
        super().__init__(_CONFIG_CLIENT if client else _CONFIG_SERVER)
        self.client = client
        self.encoder: RememberingEncoder = RememberingEncoder()
        self.decoder: RememberingDecoder = RememberingDecoder(
            max_fields=config.max_header_fields, max_header_list_size=config.max_header_list_size
        )
        self.local_settings = Settings(client, initial_values=_settings(config, client))
        self.max_inbound_frame_size = config.max_frame_size
        self.largest_header_block = config.max_header_list_size
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

    def receive_block(self, stream_id: int, block: bytes, ends: bool, *, refuse: bool = False) -> list[Event]:
        """A whole header block has come; `refuse`: no new stream is wanted now.

        Raises StreamError, and ProtocolError for an error of the connection. In every case that is none of those the
        block has been decoded, so that the table is in step with the peer's (RFC 9113 section 4.3).
        """
        stream = self.streams.get(stream_id)
        if stream is None:
            if not self._may_open(stream_id):
                self._receive_on_closed(stream_id, block)
                return []
            if refuse or len(self.streams) >= self._most_streams:
                self._refuse(stream_id, block)
        elif not stream.receives:
            self.decoder.skip(block)
            raise StreamError(stream_id, ErrorCodes.STREAM_CLOSED, "HEADERS behind END_STREAM")
        headers = self.decoder.decode(block)
        self.state_machine.process_input(ConnectionInputs.RECV_HEADERS)
        if stream is None:
            stream = self._begin_new_stream(stream_id, AllowedStreamIDs.ODD)
        return stream.take_headers(headers, ends)

    def _may_open(self, stream_id: int) -> bool:
        """Whether HEADERS with this identifier begin a new stream of the peer's."""
        return not self.client and stream_id > self.highest_inbound_stream_id and stream_id & 1 == 1

    def _receive_on_closed(self, stream_id: int, block: bytes) -> None:
        """HEADERS on a stream that is not open, and may not be opened."""
        closed_by = self._closed_streams.get(stream_id)
        self.decoder.skip(block)
        if closed_by is StreamClosedBy.SEND_RST_STREAM or (closed_by is None and stream_id <= self._forgotten):
            return  # sent before the peer had our reset (RFC 9113 section 5.1, "closed")
        if closed_by is StreamClosedBy.RECV_RST_STREAM:
            raise StreamError(stream_id, ErrorCodes.STREAM_CLOSED, "HEADERS behind RST_STREAM")
        if closed_by is not None:
            raise StreamClosedError(stream_id)
        if self.client or stream_id & 1 == 0:
            raise ProtocolError("HEADERS on a stream that the peer may not open")
        raise StreamIDTooLowError(stream_id, self.highest_inbound_stream_id)

    def _refuse(self, stream_id: int, block: bytes) -> NoReturn:
        """The stream has never been, so its request may be sent again (RFC 9113 section 8.7)."""
        self.decoder.skip(block)
        self.state_machine.process_input(ConnectionInputs.RECV_HEADERS)
        self.highest_inbound_stream_id = stream_id
        self._remember_closed(stream_id, StreamClosedBy.SEND_RST_STREAM)
        raise StreamError(stream_id, ErrorCodes.REFUSED_STREAM, "no more streams are taken now")

    def receive_reset(self, stream: MachineStream, error_code: int) -> list[Event]:
        """The peer has reset an open stream."""
        self.state_machine.process_input(ConnectionInputs.RECV_RST_STREAM)
        return stream.stream_reset(RstStreamFrame(stream.stream_id, error_code=error_code))[1]

    def is_idle(self, stream_id: int) -> bool:
        """Whether no stream with that identifier was ever opened."""
        outbound = (stream_id & 1) == self.client
        return stream_id > (self.highest_outbound_stream_id if outbound else self.highest_inbound_stream_id)

    def expect_known(self, stream_id: int) -> None:
        """Raises NoSuchStreamError when a stream with that identifier was never opened."""
        if self.is_idle(stream_id):
            raise NoSuchStreamError(stream_id)

    def crossed_reset(self, stream_id: int) -> bool:
        """The peer resets a stream that is closed: whether it is the first time, and our own end may be under way."""
        if self._closed_streams.get(stream_id) in (None, StreamClosedBy.RECV_RST_STREAM):
            return False
        self._closed_streams[stream_id] = StreamClosedBy.RECV_RST_STREAM
        return True

    def fail_stream(self, stream: MachineStream) -> None:
        """We reset the stream since the peer broke a rule on it; the frame is the caller's."""
        stream.state_machine.state = StreamState.CLOSED
        stream.state_machine.stream_closed_by = StreamClosedBy.SEND_RST_STREAM
        self.settle(stream.stream_id)

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
