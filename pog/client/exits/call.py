"""The gRPC call of one tunnel, until its payload begins.

Generated messages, but not grpclib's client: its Stream wants a Channel of grpclib's own around the connection, and
took 28 µs per call where the same steps by hand took 7 (measured without any I/O). What is left of gRPC for one message
up and one down is here: the headers, the five bytes before a message, and the places where a server says that a call
failed. It goes by callbacks, like the payload after it, so that an open costs no task.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError
from grpclib.const import Status
from h2.errors import ErrorCodes

import pog
from pog.errors import ERRORS, CallFailed, PogError, TunnelError, status_of_http
from pog.front.http1 import Refusal
from pog.proto.grpcproxy_pb2 import ConnectRequest, HTTPError, Packet
from pog.tunnel.abilities import ABILITIES_KEY, ERROR_KEY, HALF_CLOSE, OUR_ABILITIES, abilities
from pog.tunnel.lane import LaneTransport, call_error
from pog.wire.content_type import message_form
from pog.wire.encode import message

if TYPE_CHECKING:
    from collections.abc import Callable

    from pog.http2.fields import Headers
    from pog.http2.session import Session
    from pog.http2.stream import Stream

RUN = "HTTPProxy/Run"
USER_AGENT = f"pog/{pog.__version__}"
# The answer carries one line of error text.
_PREFIX_BYTES = 5
_MAX_ANSWER_BYTES = 64 * 1024
_UNREADABLE = "its answer is not a gRPC message that pog can read"

# Error types of RFC 9209 for what a server says about the destination. Ours names the type; the original's says 503 for
# everything.
_ERROR_TYPES = frozenset(failure.proxy_status for failure in ERRORS.values())
_ERROR_OF_HTTP = {
    400: "http_request_error",
    403: "destination_ip_prohibited",
    502: "destination_unavailable",
    503: "destination_unavailable",
    504: "connection_timeout",
}


class TunnelRefused(PogError):
    """The server did not open the tunnel; `refusal` is what the user is told, `status` how the call ended."""

    def __init__(self, status: Status, refusal: Refusal) -> None:
        super().__init__(refusal.text)
        self.status = status
        self.refusal = refusal


Opened = LaneTransport | TunnelRefused | TunnelError


def request_headers(*, scheme: str, authority: str, authorization: str | None) -> list[tuple[str, str]]:
    """The headers of every call through one exit."""
    headers = [
        (":method", "POST"),
        (":scheme", scheme),
        (":path", f"/{RUN}"),
        (":authority", authority),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
        ("user-agent", USER_AGENT),
        (ABILITIES_KEY, OUR_ABILITIES),
    ]
    if authorization is not None:
        headers.append(("authorization", authorization))
    return headers


class Call:
    """The call of one tunnel until the server's answer: a consumer of its stream that makes room for the lane.

    `done` is called once, unless the call is cancelled, with the tunnel or with what kept it from opening:
    TunnelRefused, or TunnelError when the stream or its connection broke. The constructor raises as open_stream does.
    """

    __slots__ = ("_answer", "_done", "_stream")

    def __init__(self, session: Session, headers: Headers, host_port: str, done: Callable[[Opened], None]) -> None:
        self._done: Callable[[Opened], None] | None = done
        self._answer = b""
        request = message(Packet(connect_request=ConnectRequest(host_port=host_port)))
        self._stream = session.open_stream(headers, request)
        self._stream.attach(self)

    @property
    def answered(self) -> bool:
        """Whether the server has said anything."""
        return self._stream.headers is not None

    def cancel(self) -> None:
        """Resets the call; `done` is not called any more."""
        self._done = None
        self._stream.reset_nowait(ErrorCodes.CANCEL)
        self._stream.release()

    def _finish(self, opened: Opened) -> None:
        done, self._done = self._done, None
        if done is None:
            return
        if isinstance(opened, Exception):
            self._stream.reset_nowait(ErrorCodes.CANCEL)
            self._stream.release()
        done(opened)

    # The stream's consumer

    def data_received(self, data: bytes | memoryview) -> None:
        if self._done is None:
            return
        self._answer += bytes(data)
        try:
            size = self._answer_size()
            if len(self._answer) < size:
                return
            # What is behind the answer is payload already.
            if len(self._answer) > size:
                self._stream.unread(self._answer[size:])
            headers = dict(self._stream.headers or ())
            _check_answer(self._answer[_PREFIX_BYTES:size], headers)
        except TunnelRefused as refused:
            self._finish(refused)
            return
        # Until the lane takes over the stream keeps what comes.
        self._stream.pause_reading()
        half_close = HALF_CLOSE in abilities(headers.get(ABILITIES_KEY))
        self._finish(LaneTransport(self._stream, half_close=half_close))

    def _answer_size(self) -> int:
        """The length of the first message with its prefix; more than there is, as long as it is not known."""
        _check_headers(dict(self._stream.headers or ()))
        if len(self._answer) < _PREFIX_BYTES:
            return _PREFIX_BYTES
        size = int.from_bytes(self._answer[1:_PREFIX_BYTES], "big")
        if self._answer[0] != 0 or size > _MAX_ANSWER_BYTES:
            raise refused_by_server(Status.INTERNAL, _UNREADABLE)
        return _PREFIX_BYTES + size

    def ended(self) -> None:
        headers = dict(self._stream.headers or ())
        try:
            if "grpc-status" not in headers:
                _check_headers(headers)
        except TunnelRefused as refused:
            self._finish(refused)
        else:
            self._finish(_call_failed(self._stream))

    def lost(self, error: TunnelError) -> None:
        self._finish(error)

    def pause_writing(self) -> None:
        pass

    def resume_writing(self) -> None:
        pass


def _check_answer(data: bytes, headers: dict[str, str]) -> None:
    """Raises TunnelRefused unless the message says that the tunnel is open."""
    try:
        packet = Packet.FromString(data)
    except DecodeError:
        raise refused_by_server(Status.INTERNAL, _UNREADABLE) from None
    if not packet.HasField("connect_response"):
        raise refused_by_server(Status.INTERNAL, f"got wrong packet type: {packet.WhichOneof('union')}")
    if packet.connect_response.HasField("error"):
        raise _destination_failed(packet.connect_response.error, headers.get(ERROR_KEY))


def _check_headers(headers: dict[str, str]) -> None:
    """Raises TunnelRefused unless messages follow."""
    http_status = headers.get(":status", "")
    if http_status != "200":
        raise refused_by_server(
            status_of_http(http_status), f"HTTP status {http_status} instead of gRPC; is SERVER_ADDR a pog server?"
        )
    content_type = headers.get("content-type", "")
    if message_form(content_type) not in ("", "proto"):
        raise refused_by_server(
            Status.UNKNOWN, f"{content_type or 'no content type'} instead of gRPC; is SERVER_ADDR a pog server?"
        )


def _call_failed(stream: Stream) -> TunnelRefused:
    """The call ended without an answer, and perhaps with a status that says why."""
    error = call_error(stream)
    if not isinstance(error, CallFailed):
        return refused_by_server(Status.UNKNOWN, str(error or "the call ended without an answer"))
    text = error.message or "no reason given"
    if error.status is Status.UNAUTHENTICATED:
        text += " (does CLIENT_POG_AUTH name a user of the server?)"
    return refused_by_server(error.status, text)


def refused_by_server(status: Status, text: str) -> TunnelRefused:
    """The user gets 503 when another try may help or the server knows us not, as with the original, otherwise 500."""
    text = f"the server did not open the tunnel: {status.name}: {text}"
    match status:
        case Status.UNAVAILABLE:
            return TunnelRefused(status, Refusal(503, text, "destination_unavailable"))
        case Status.UNAUTHENTICATED:
            return TunnelRefused(status, Refusal(503, text, "proxy_configuration_error"))
        case _:
            return TunnelRefused(status, Refusal(500, text, "proxy_internal_error"))


def _destination_failed(error: HTTPError, error_type: str | None) -> TunnelRefused:
    """The server could not reach the destination, and says so in its own words."""
    http_status = error.status_code if 400 <= error.status_code <= 599 else 500
    if error_type not in _ERROR_TYPES:
        error_type = _ERROR_OF_HTTP.get(http_status, "proxy_internal_error")
    return TunnelRefused(Status.CANCELLED, Refusal(http_status, error.error or "no reason given", error_type))
