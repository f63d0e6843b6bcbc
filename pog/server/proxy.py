"""The tunnel service: one call is one tunnel to one destination."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from grpclib.const import Status
from grpclib.exceptions import GRPCError, StreamTerminatedError

from pog.errors import DialError, Failure, FailureKind, ProtocolViolation, Refused
from pog.net.address import Destination, parse_destination, peer_text
from pog.process.timers import Limit
from pog.proto.grpcproxy_grpc import HTTPProxyBase
from pog.proto.grpcproxy_pb2 import ConnectResponse, Packet
from pog.tunnel.abilities import ABILITIES_KEY, ERROR_KEY, FAILURE_KEY, HALF_CLOSE, OUR_ABILITIES, abilities
from pog.tunnel.ended import Ended, Reason, Side
from pog.tunnel.live import TunnelRecord
from pog.tunnel.payload import PayloadTransport, open_payload
from pog.tunnel.relay import Relay
from pog.tunnel.request import ANONYMOUS, User

if TYPE_CHECKING:
    import grpclib.server

    from pog.config.server_settings import ServerSettings
    from pog.net.dial import Dialled, Dialler
    from pog.observe.tunnels import TunnelObserver

    Call = grpclib.server.Stream[Packet, Packet]

# How long a call may take to send its ConnectRequest; seconds.
_REQUEST_TIMEOUT = 10.0
# What is repeated of a destination that is none; a name has at most 253 bytes.
_LONGEST_SHOWN = 300

_STOPPING = Failure(FailureKind.STOPPING, "the server is shutting down")
_ENDINGS = {
    Reason.IDLE: (Status.ABORTED, "the tunnel was idle for too long"),
    Reason.HALF_CLOSED: (Status.ABORTED, "the half-closed tunnel was silent for too long"),
    Reason.STOPPED: (Status.UNAVAILABLE, _STOPPING.text),
}


class HTTPProxy(HTTPProxyBase):
    """Serves tunnels; those that are open stand in the observer's registry."""

    def __init__(self, settings: ServerSettings, dialler: Dialler, observer: TunnelObserver) -> None:
        self._settings = settings
        self._dialler = dialler
        self._observer = observer
        self.draining = False
        self._opening: set[asyncio.Task[None]] = set()
        self._stopped = False
        self._calls = 0
        self._no_calls = asyncio.Event()
        self._no_calls.set()

    async def wait_idle(self) -> None:
        """Waits until no tunnel is open or being opened."""
        await self._no_calls.wait()

    def stop(self) -> None:
        """Ends every tunnel with UNAVAILABLE, open or not yet."""
        self._stopped = True
        for task in self._opening:
            task.cancel()
        for record in self._observer.tunnels:
            assert record.relay is not None
            record.relay.stop(Reason.STOPPED)

    async def Run(self, stream: Call) -> None:
        await self.run(stream, ANONYMOUS)

    async def run(self, stream: Call, user: User) -> None:
        """Serves a call of `user`. Raises GRPCError with the status that the call ends with."""
        self._calls += 1
        self._no_calls.clear()
        try:
            await self._run(stream, user)
        finally:
            self._calls -= 1
            if not self._calls:
                self._no_calls.set()

    async def _run(self, stream: Call, user: User) -> None:
        record = _record(stream, user)
        self._observer.requested(record)
        task = asyncio.current_task()
        assert task is not None
        self._opening.add(task)
        try:
            record.destination = await self._read_request(stream, record)
            dialled = await self._connect(stream, record.destination)
        except Refused as refused:
            self._observer.refused(record, refused.failure)
            raise GRPCError(refused.failure.wording.grpc_status, refused.failure.text) from None
        except GRPCError as error:
            failure = Failure(FailureKind.BAD_REQUEST, error.message or "")
            self._observer.refused(record, failure, error.status)
            raise
        except (asyncio.CancelledError, StreamTerminatedError) as error:
            if self._stopped and isinstance(error, asyncio.CancelledError) and not task.uncancel():
                self._observer.refused(record, _STOPPING)
                raise GRPCError(_STOPPING.wording.grpc_status, _STOPPING.text) from None
            self._observer.refused(record, Failure(FailureKind.GONE, "the client gave up"))
            raise
        finally:
            self._opening.discard(task)
        await self._tunnel(stream, dialled, record)

    def login_refused(self, stream: Call, failure: Failure) -> None:
        """Records a call that was refused for its credentials."""
        record = _record(stream, None)
        self._observer.requested(record)
        self._observer.refused(record, failure)

    async def _read_request(self, stream: Call, record: TunnelRecord) -> Destination:
        """The destination that the first packet asks for. Raises Refused."""
        if self.draining:
            raise Refused(_STOPPING)
        try:
            with Limit(_REQUEST_TIMEOUT):
                packet = await stream.recv_message()
        except TimeoutError:
            text = f"no connect_request in {_REQUEST_TIMEOUT:g} s"
            raise Refused(Failure(FailureKind.REQUEST_TIMEOUT, text)) from None
        kind = packet.WhichOneof("union") if packet is not None else "end of call"
        if packet is None or kind != "connect_request":
            text = f"got wrong packet type: {kind}, expected connect_request"
            raise Refused(Failure(FailureKind.BAD_REQUEST, text))
        host_port = packet.connect_request.host_port
        try:
            return parse_destination(host_port)
        except ValueError as error:
            record.asked = shown = host_port[:_LONGEST_SHOWN]
            bad = DialError(FailureKind.BAD_ADDRESS, shown.strip() or repr(shown), str(error))
            await self._send_refusal(stream, bad.failure, 0.0)
            raise bad from None

    async def _connect(self, stream: Call, destination: Destination) -> Dialled:
        """Dials, and sends the ConnectResponse. Raises Refused."""
        began = time.perf_counter()
        try:
            dialled = await self._dialler.dial(destination)
        except DialError as error:
            await self._send_refusal(stream, error.failure, time.perf_counter() - began)
            raise
        self._observer.metrics.dialled("ok", time.perf_counter() - began)
        try:
            await stream.send_initial_metadata(metadata={ABILITIES_KEY: OUR_ABILITIES})
            await stream.send_message(Packet(connect_response=ConnectResponse()))
        except BaseException:
            dialled.transport.abort()
            raise
        return dialled

    async def _send_refusal(self, stream: Call, failure: Failure, seconds: float) -> None:
        self._observer.metrics.dialled(failure.kind.value, seconds)
        answer = ConnectResponse()
        answer.error.status_code, answer.error.error = failure.http_status, failure.text
        metadata = {
            ABILITIES_KEY: OUR_ABILITIES,
            ERROR_KEY: failure.wording.proxy_error,
            FAILURE_KEY: failure.kind.value,
        }
        await stream.send_initial_metadata(metadata=metadata)
        await stream.send_message(Packet(connect_response=answer))

    async def _tunnel(self, stream: Call, dialled: Dialled, record: TunnelRecord) -> None:
        assert stream.metadata is not None
        half_close = HALF_CLOSE in abilities(stream.metadata.get(ABILITIES_KEY))
        payload = open_payload(stream, half_close=half_close)
        ended: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()
        relay = Relay(
            dialled.transport,
            payload,
            idle_timeout=self._settings.idle_timeout,
            half_close_timeout=self._settings.half_close_timeout,
            on_end=lambda how: None if ended.done() else ended.set_result(how),
            answerer=Side.LOCAL,
            on_first_byte=self._observer.metrics.first_byte_seconds.observe,
        )
        self._observer.opened(record, relay)
        try:
            relay.start(dialled.early, ended=dialled.ended, lost=dialled.lost)
            await self._end(payload, await ended)
        finally:
            relay.stop(Reason.CANCELLED)
            payload.abort()
            self._observer.ended(record)

    async def _end(self, payload: PayloadTransport, how: Ended) -> None:
        """Ends the call as the tunnel ended: returning is the status OK."""
        if how.reason is Reason.DONE:
            await payload.finished()
        elif how.reason is not Reason.RESET:
            raise GRPCError(*_ENDINGS[how.reason])
        elif how.side is Side.LOCAL:
            raise GRPCError(Status.UNAVAILABLE, f"the destination broke the connection: {how.error}")
        elif isinstance(how.error, ProtocolViolation):
            raise GRPCError(Status.INVALID_ARGUMENT, str(how.error))
        elif isinstance(how.error, GRPCError):
            raise how.error


def _record(stream: Call, user: User | None) -> TunnelRecord:
    return TunnelRecord(peer_text(stream.peer.addr()), "grpc", user=user, metadata=stream.metadata)
