"""One stream in h2's state machine, with its windows and the checks of its messages. [pure]"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from h2.errors import ErrorCodes
from h2.events import InformationalResponseReceived, RequestReceived, ResponseReceived, TrailersReceived
from h2.exceptions import ProtocolError
from h2.stream import H2Stream, StreamInputs, StreamState

from pog.http2.errors import FieldsTooLarge, StreamError
from pog.http2.fields import check_request, check_response, check_trailers, content_length, joined_cookies

if TYPE_CHECKING:
    from h2.config import H2Configuration
    from h2.events import Event, StreamEnded

    from pog.http2.hpack import KnownBlock
    from pog.http2.windows import ReceiveWindow

    HeadersEvent = RequestReceived | ResponseReceived | TrailersReceived | InformationalResponseReceived

_CHECKS = {
    RequestReceived: check_request,
    ResponseReceived: check_response,
    InformationalResponseReceived: check_response,
    TrailersReceived: check_trailers,
}


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
        window.unconsumed += length
        if self._expected_content_length is not None:
            self._actual_content_length += length - padding
            self._check_length(ends)

    def _check_length(self, ends: bool) -> None:
        expected, actual = self._expected_content_length, self._actual_content_length
        if expected is not None and (actual > expected or (ends and actual != expected)):
            reason = f"content of {actual} bytes, though content-length says {expected}"
            raise StreamError(self.stream_id, ErrorCodes.PROTOCOL_ERROR, reason)

    def take_headers(self, block: KnownBlock, ends: bool) -> list[Event]:
        """A header block has come. Raises ProtocolError when the message is malformed, or may not come now."""
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
