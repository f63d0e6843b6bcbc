"""One unary call on a connection that is there: one message up, one down."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from google.protobuf.message import DecodeError, Message
from grpclib.exceptions import GRPCError
from h2.errors import ErrorCodes

from pog.errors import CallFailed, ProtocolViolation, status_of_http
from pog.tunnel.lane import call_error
from pog.wire.framing import PREFIX_BYTES, framed, message_length

if TYPE_CHECKING:
    from pog.http2.session import Session
    from pog.http2.stream import Stream

M = TypeVar("M", bound=Message)


async def unary(session: Session, headers: list[tuple[str, str]], request: Message, answer: type[M]) -> M:
    """Raises CallFailed with the status of the call, and TunnelError when it breaks."""
    stream = session.open_stream(headers)
    try:
        await stream.send_data(framed(request.SerializeToString()), end_stream=True)
        return answer.FromString(await _answer(stream))
    except DecodeError:
        raise ProtocolViolation(f"the answer is not a {answer.DESCRIPTOR.full_name}") from None
    finally:
        stream.reset_nowait(ErrorCodes.CANCEL)
        stream.release()


async def _answer(stream: Stream) -> bytes:
    """The one message of an answer."""
    http_status = dict(await stream.recv_headers()).get(":status", "")
    if http_status != "200":
        raise CallFailed(status_of_http(http_status), f"HTTP status {http_status} instead of gRPC; is it a pog server?")
    try:
        prefix = await stream.recv_data(PREFIX_BYTES)
        data = await stream.recv_data(message_length(prefix)) if prefix else b""
    except GRPCError as cut:
        error = call_error(stream) if stream.ended else None
        raise error or ProtocolViolation(str(cut.message)) from None
    await stream.recv_trailers()
    if (error := call_error(stream)) is not None:
        raise error
    if len(prefix) < PREFIX_BYTES or prefix[0]:
        raise ProtocolViolation("the answer has no message that can be read")
    return data
