"""The gRPC call of one tunnel, until its payload begins.

Generated messages, but not grpclib's client: its Stream wants a Channel of grpclib's own around the connection, and
took 28 µs per call where this takes 7 (measured without any I/O). What is left of gRPC for one message up and one down
is here: the headers, the five bytes before a message, and the places where a server says that a call failed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError
from grpclib.const import Status

import pog
from pog.errors import CallFailed, PogError
from pog.front.http1 import Refusal
from pog.proto.grpcproxy_pb2 import ConnectRequest, HTTPError, Packet
from pog.tunnel.abilities import ABILITIES_KEY, HALF_CLOSE, OUR_ABILITIES, abilities
from pog.tunnel.lane import call_error

if TYPE_CHECKING:
    from pog.http2.stream import Stream

RUN = "HTTPProxy/Run"
USER_AGENT = f"pog/{pog.__version__}"
# A Cloud Run service that was scaled to zero first has to start; the server's own dial takes up to 10 s. Seconds.
HANDSHAKE_TIMEOUT = 60.0
# The answer carries one line of error text.
_MAX_ANSWER_BYTES = 64 * 1024
_UNREADABLE = "its answer is not a gRPC message that pog can read"

# github.com/grpc/grpc, doc/http-grpc-status-mapping.md; anything else is UNKNOWN.
_STATUS_OF_HTTP = {
    400: Status.INTERNAL,
    401: Status.UNAUTHENTICATED,
    403: Status.PERMISSION_DENIED,
    404: Status.UNIMPLEMENTED,
    429: Status.UNAVAILABLE,
    502: Status.UNAVAILABLE,
    503: Status.UNAVAILABLE,
    504: Status.UNAVAILABLE,
}
# Error types of RFC 9209 for what a server says about the destination; the original's server says 503 for everything.
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


async def handshake(stream: Stream, host_port: str) -> bool:
    """Asks for a tunnel on a new stream; true when the server can say the end of its direction (half-close).

    Raises TunnelRefused, and TunnelError when the stream or its connection breaks.
    """
    request = Packet(connect_request=ConnectRequest(host_port=host_port)).SerializeToString()
    await stream.send_data(b"\0" + len(request).to_bytes(4, "big") + request)
    headers = dict(await stream.recv_headers())
    if "grpc-status" in headers:
        raise _call_failed(stream)
    _check_headers(headers)
    prefix = await stream.recv_data(5)
    if not prefix:
        await stream.recv_trailers()
        raise _call_failed(stream)
    length = int.from_bytes(prefix[1:], "big")
    if len(prefix) < 5 or prefix[0] != 0 or length > _MAX_ANSWER_BYTES:
        raise refused_by_server(Status.INTERNAL, _UNREADABLE)
    try:
        packet = Packet.FromString(await stream.recv_data(length))
    except DecodeError:
        raise refused_by_server(
            Status.INTERNAL, "the server's answer is not a gRPC message that pog can read"
        ) from None
    if not packet.HasField("connect_response"):
        raise refused_by_server(Status.INTERNAL, f"got wrong packet type: {packet.WhichOneof('union')}")
    if packet.connect_response.HasField("error"):
        raise _destination_failed(packet.connect_response.error)
    return HALF_CLOSE in abilities(headers.get(ABILITIES_KEY))


def _check_headers(headers: dict[str, str]) -> None:
    """Raises TunnelRefused unless messages follow."""
    http_status = headers.get(":status", "")
    if http_status != "200":
        status = _STATUS_OF_HTTP.get(int(http_status) if http_status.isdecimal() else 0, Status.UNKNOWN)
        raise refused_by_server(status, f"HTTP status {http_status} instead of gRPC; is SERVER_ADDR a pog server?")
    content_type = headers.get("content-type", "")
    if content_type not in ("application/grpc", "application/grpc+proto"):
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


def _destination_failed(error: HTTPError) -> TunnelRefused:
    """The server could not reach the destination, and says so in its own words."""
    http_status = error.status_code if 400 <= error.status_code <= 599 else 500
    error_type = _ERROR_OF_HTTP.get(http_status, "proxy_internal_error")
    return TunnelRefused(Status.CANCELLED, Refusal(http_status, error.error or "no reason given", error_type))
