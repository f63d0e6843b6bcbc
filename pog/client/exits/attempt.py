"""One tunnel on its way through a pog server: the gRPC call until the server's answer, and a second one when nothing
came back on the first one's connection.

Generated messages, but not grpclib's client: its Stream wants a Channel of grpclib's own around the connection, and
took 28 µs per call where the same steps by hand took 7 (measured without any I/O). What is left of gRPC for one message
up and one down is here: the headers, the five bytes before a message, and the places where a server says that a call
failed. It goes by callbacks, like the payload after it, so that an open costs no task while a connection has room.
"""

from __future__ import annotations

import asyncio
import logging
import time
from functools import partial
from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError
from grpclib.const import Status
from h2.errors import ErrorCodes

from pog.errors import (
    CallFailed,
    ConnectionLost,
    ExitUnavailable,
    Failure,
    FailureKind,
    Refused,
    StreamsExhausted,
    TunnelError,
    TunnelReset,
    failure_of_destination,
    failure_of_exit,
    status_of_http,
)
from pog.process.timers import after
from pog.proto.grpcproxy_pb2 import ConnectRequest, Packet
from pog.tunnel.abilities import ABILITIES_KEY, FAILURE_KEY, HALF_CLOSE, abilities
from pog.tunnel.ended import Reason, Side
from pog.tunnel.lane import LaneTransport, call_error
from pog.tunnel.request import Tunnel
from pog.wire.content_type import message_form
from pog.wire.encode import message, payload

if TYPE_CHECKING:
    from collections.abc import Callable

    from pog.client.exits.pool import Pool
    from pog.http2.fields import Headers
    from pog.http2.session import Session
    from pog.http2.stream import Stream
    from pog.observe.metrics import Metrics
    from pog.tunnel.ended import Ended
    from pog.tunnel.request import TunnelRequest

log = logging.getLogger(__name__)

RUN = "HTTPProxy/Run"
# A Cloud Run service that was scaled to zero first has to start; the server's own dial takes up to 10 s. Seconds.
HANDSHAKE_TIMEOUT = 60.0
# The answer carries one line of error text.
_PREFIX_BYTES = 5
_MAX_ANSWER_BYTES = 64 * 1024
_UNREADABLE = "its answer is not a gRPC message that pog can read"


class GrpcAttempt:
    """A consumer of its stream that makes room for the lane.

    `done` is called once, perhaps within `begin`, unless the attempt is cancelled before. When a connection has room
    there is no task. When none has, a task waits for one.
    """

    __slots__ = (
        "_again",
        "_answer",
        "_began",
        "_done",
        "_early",
        "_exit",
        "_headers",
        "_metrics",
        "_pool",
        "_request",
        "_stream",
        "_timer",
        "_tried",
        "_wait",
    )

    def __init__(
        self,
        exit: str,
        pool: Pool[Session],
        headers: Headers,
        request: TunnelRequest,
        metrics: Metrics,
        done: Callable[[Tunnel | Failure], None],
    ) -> None:
        self._exit = exit
        self._pool = pool
        self._headers = headers
        self._request = message(Packet(connect_request=ConnectRequest(host_port=str(request.destination))))
        self._metrics = metrics
        self._done: Callable[[Tunnel | Failure], None] | None = done
        self._answer = b""
        self._early: list[bytes] = []
        self._stream: Stream | None = None
        self._tried: Session | None = None
        self._again = False
        self._wait: asyncio.Task[None] | None = None
        self._began = 0.0
        self._timer = after(HANDSHAKE_TIMEOUT, self._late)

    def begin(self) -> None:
        session = self._pool.pick(self._tried)
        if session is not None:
            self._try(session)
        else:
            self._wait = asyncio.get_running_loop().create_task(self._acquire(), name="wait for a connection")

    def write(self, data: bytes) -> None:
        self._early.append(data)
        if self._stream is not None:
            _write_payload(self._stream, data)

    def cancel(self) -> None:
        """Gives it up: a call under way is reset."""
        self._done = None
        self._timer.cancel()
        if self._wait is not None:
            self._wait.cancel()
        if self._stream is not None:
            self._end_call(Status.CANCELLED)

    async def _acquire(self) -> None:
        try:
            session = await self._pool.acquire(self._tried)
        except ExitUnavailable as error:
            self._wait = None
            self._finish(error.failure)
        else:
            self._wait = None
            self._try(session)

    def _try(self, session: Session) -> None:
        self._again, self._tried = self._tried is not None, session
        self._began = time.perf_counter()
        try:
            self._stream = stream = session.open_stream(self._headers, self._request)
        except (StreamsExhausted, ConnectionLost) as error:
            self._unanswered(error)
        else:
            self._metrics.rpc_started(RUN)
            stream.attach(self)
            for data in self._early:
                _write_payload(stream, data)

    def _unanswered(self, error: Exception) -> None:
        """The server has done nothing for this call, so another try can do no harm."""
        if self._again:
            self._finish(Failure(FailureKind.EXIT_UNAVAILABLE, str(error)))
        else:
            log.debug("once more after: %s", error)
            self.begin()

    def _late(self) -> None:
        if self._done is not None:
            done = self._done
            self.cancel()
            done(Failure(FailureKind.EXIT_TIMEOUT, f"no answer from the server within {HANDSHAKE_TIMEOUT:g} s"))

    def _end_call(self, status: Status) -> None:
        """The call is over without a tunnel."""
        stream, self._stream = self._stream, None
        assert stream is not None
        stream.reset_nowait(ErrorCodes.CANCEL)
        stream.release()
        self._metrics.rpc_completed(RUN, status, time.perf_counter() - self._began)

    def _finish(self, result: Tunnel | Failure) -> None:
        self._timer.cancel()
        done, self._done = self._done, None
        if done is not None:
            done(result)

    # The stream's consumer

    def data_received(self, data: bytes | memoryview) -> None:
        stream = self._stream
        if stream is None:
            return
        self._answer += bytes(data)
        headers = dict(stream.headers or ())
        try:
            size = self._answer_size(headers)
            if len(self._answer) < size:
                return
            _check_answer(self._answer[_PREFIX_BYTES:size], headers)
        except CallFailed as error:
            self._end_call(error.status)
            self._finish(failure_of_exit(error.status, error.message))
            return
        except Refused as refused:
            # The answer is all that is of interest: the call's own status would only repeat it.
            self._end_call(Status.CANCELLED)
            self._finish(refused.failure)
            return
        # What is behind the answer is payload already. Until the lane takes over the stream keeps what comes.
        if len(self._answer) > size:
            stream.unread(self._answer[size:])
        stream.pause_reading()
        half_close = HALF_CLOSE in abilities(headers.get(ABILITIES_KEY))
        ended = partial(_tunnel_ended, self._metrics, self._began)
        self._finish(Tunnel(LaneTransport(stream, half_close=half_close), self._exit, ended))

    def _answer_size(self, headers: dict[str, str]) -> int:
        """The length of the first message with its prefix; more than there is, as long as it is not known."""
        _check_headers(headers)
        if len(self._answer) < _PREFIX_BYTES:
            return _PREFIX_BYTES
        size = int.from_bytes(self._answer[1:_PREFIX_BYTES], "big")
        if self._answer[0] != 0 or size > _MAX_ANSWER_BYTES:
            raise CallFailed(Status.INTERNAL, _UNREADABLE)
        return _PREFIX_BYTES + size

    def ended(self) -> None:
        """The call ended without an answer, and perhaps with a status that says why."""
        stream = self._stream
        if stream is None:
            return
        headers = dict(stream.headers or ())
        try:
            if "grpc-status" not in headers:
                _check_headers(headers)
            error = call_error(stream)
            if not isinstance(error, CallFailed):
                error = CallFailed(Status.UNKNOWN, str(error or "the call ended without an answer"))
        except CallFailed as failed:
            error = failed
        self._end_call(error.status)
        text = error.message or "no reason given"
        if error.status is Status.UNAUTHENTICATED:
            text += " (does CLIENT_POG_AUTH name a user of the server?)"
        self._finish(failure_of_exit(error.status, text))

    def lost(self, error: TunnelError) -> None:
        stream = self._stream
        if stream is None:
            return
        answered = stream.headers is not None
        self._end_call(Status.UNAVAILABLE)
        if not answered and self._may_repeat(error):
            self._unanswered(error)
        elif isinstance(error, ConnectionLost):
            self._finish(Failure(FailureKind.EXIT_UNAVAILABLE, str(error)))
        else:
            self._finish(failure_of_exit(Status.INTERNAL, str(error)))

    def _may_repeat(self, error: TunnelError) -> bool:
        """RFC 9113 section 8.7: a refused stream was not processed at all. On a connection that broke, the destination
        may have got the user's first bytes, and must not get them twice."""
        if isinstance(error, ConnectionLost):
            return not self._early
        return isinstance(error, TunnelReset) and error.by_peer and error.code == ErrorCodes.REFUSED_STREAM

    def pause_writing(self) -> None:
        pass

    def resume_writing(self) -> None:
        pass


def _write_payload(stream: Stream, data: bytes) -> None:
    chunks = payload(data)
    stream.write(chunks, sum(map(len, chunks)))


def _tunnel_ended(metrics: Metrics, began: float, how: Ended) -> None:
    """For the call of a tunnel that was open."""
    seconds = time.perf_counter() - began
    metrics.rpc_completed(RUN, _status(how), seconds, bytes_in=how.from_tunnel, bytes_out=how.from_local)


def _status(how: Ended) -> Status:
    """How the call of an open tunnel ended, as a gRPC client counts it."""
    if isinstance(how.error, CallFailed):
        return how.error.status
    if how.reason is Reason.DONE:
        return Status.OK
    return Status.UNAVAILABLE if how.side is Side.TUNNEL else Status.CANCELLED


def _check_answer(data: bytes, headers: dict[str, str]) -> None:
    """Raises CallFailed when it is no answer, and Refused when it says that there is no tunnel."""
    try:
        packet = Packet.FromString(data)
    except DecodeError:
        raise CallFailed(Status.INTERNAL, _UNREADABLE) from None
    if not packet.HasField("connect_response"):
        raise CallFailed(Status.INTERNAL, f"got wrong packet type: {packet.WhichOneof('union')}")
    if packet.connect_response.HasField("error"):
        error = packet.connect_response.error
        raise Refused(failure_of_destination(error.status_code, error.error, headers.get(FAILURE_KEY)))


def _check_headers(headers: dict[str, str]) -> None:
    """Raises CallFailed unless messages follow."""
    http_status = headers.get(":status", "")
    if http_status != "200":
        text = f"HTTP status {http_status} instead of gRPC; is SERVER_ADDR a pog server?"
        raise CallFailed(status_of_http(http_status), text)
    content_type = headers.get("content-type", "")
    if message_form(content_type) not in ("", "proto"):
        text = f"{content_type or 'no content type'} instead of gRPC; is SERVER_ADDR a pog server?"
        raise CallFailed(Status.UNKNOWN, text)
