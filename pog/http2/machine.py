"""h2's state machines, with what does not scale taken out. [pure]

h2 stays the authority for the states of streams and connection, and for SETTINGS. Changed here:

1. h2 counts open streams by walking all of them at every new one. A stream that closes leaves its table at once here
   (`remove_if_closed`), so the table's length is the count.
2. What a peer does wrong on one stream is that stream's error (errors.py); h2 ends the connection for a malformed
   message, and for a stream over MAX_CONCURRENT_STREAMS.
3. Late HEADERS on a stream that we have reset are dropped (RFC 9113 section 5.1, "closed"); h2 answers them with
   another reset.
4. Fields are checked by fields.py, once per known block (see hpack.py), and are text in the order they came.
5. Windows of streams and connection are ours (see windows.py), and GOAWAY is not h2's business: it would close.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from h2.config import H2Configuration
from h2.connection import AllowedStreamIDs, ConnectionInputs, H2Connection
from h2.errors import ErrorCodes
from h2.events import StreamReset
from h2.exceptions import NoSuchStreamError, ProtocolError, StreamClosedError, StreamIDTooLowError
from h2.settings import SettingCodes, Settings
from h2.stream import StreamClosedBy, StreamState
from h2.utilities import SizeLimitDict
from hyperframe.frame import RstStreamFrame

from pog.http2.errors import StreamError
from pog.http2.hpack import RememberingDecoder, RememberingEncoder
from pog.http2.machine_stream import MachineStream
from pog.http2.windows import DEFAULT_WINDOW, ReceiveWindow

if TYPE_CHECKING:
    from h2.events import Event
    from hyperframe.frame import Frame

    from pog.http2.config import ConnectionConfig

# How many closed streams are remembered, to distinguish a late frame from a wrong one; about 150 bytes each.
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

    def open_stream(self, stream_id: int) -> MachineStream:
        """A new stream of ours; the caller has checked the peer's limit."""
        return self._begin_new_stream(stream_id, AllowedStreamIDs.ODD)

    def remove_if_closed(self, stream_id: int) -> None:
        """To be called after everything that may have closed a stream: a closed one leaves the table."""
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

        Raises StreamError, and ProtocolError for an error of the connection. Unless it is one of the connection the
        block has been decoded, so that the table is in step with the peer's (RFC 9113 section 4.3).
        """
        stream = self.streams.get(stream_id)
        if stream is None:
            if self.client or stream_id <= self.highest_inbound_stream_id or stream_id & 1 == 0:
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
        try:
            return stream.take_headers(headers, ends)
        except StreamError:
            raise
        except ProtocolError as error:
            # RFC 9113 section 8.1.1: a malformed message is an error of its stream.
            raise StreamError(stream_id, error.error_code, str(error)) from error

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
        self.remove_if_closed(stream.stream_id)

    def forget_stream(self, stream: MachineStream) -> StreamReset:
        """The peer's GOAWAY says that it never saw this stream."""
        stream.state_machine.state = StreamState.CLOSED
        stream.state_machine.stream_closed_by = StreamClosedBy.RECV_RST_STREAM
        self.remove_if_closed(stream.stream_id)
        return StreamReset(stream_id=stream.stream_id, error_code=ErrorCodes.REFUSED_STREAM, remote_reset=True)

    def _acknowledge_settings(self) -> list[Frame]:
        frames = super()._acknowledge_settings()
        self.most_peer_streams = self.remote_settings.max_concurrent_streams
        return frames

    def _terminate_connection(self, error_code: ErrorCodes) -> None:
        """GOAWAY is sent by the connection above, in one place."""
