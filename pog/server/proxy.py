"""The tunnel service: one call is one tunnel to one destination."""

from __future__ import annotations

import asyncio
import time
from contextvars import ContextVar
from typing import TYPE_CHECKING

from grpclib.const import Status
from grpclib.exceptions import GRPCError, StreamTerminatedError

from pog.errors import DialError, ProtocolViolation
from pog.net.address import join_host_port
from pog.observe.accesslog import Visit
from pog.process.timers import Limit
from pog.proto.grpcproxy_grpc import HTTPProxyBase
from pog.proto.grpcproxy_pb2 import ConnectResponse, Packet
from pog.tunnel.abilities import ABILITIES_KEY, ERROR_KEY, HALF_CLOSE, OUR_ABILITIES, abilities
from pog.tunnel.payload import PayloadTransport, open_payload
from pog.tunnel.relay import Ended, Reason, Relay, Side

if TYPE_CHECKING:
    import grpclib.server

    from pog.config.settings import ServerSettings
    from pog.net.dial import Dialler, Held
    from pog.observe.accesslog import AccessLog
    from pog.observe.metrics import Metrics

    Call = grpclib.server.Stream[Packet, Packet]

# The user that the call was made by; set where credentials are checked, read by the log.
current_user: ContextVar[str] = ContextVar("current_user", default="anonymous")

# A call that does not say where it wants to go holds a stream for nothing; seconds.
_REQUEST_TIMEOUT = 10.0

_ENDINGS = {
    Reason.IDLE: (Status.ABORTED, "the tunnel was idle for too long"),
    Reason.HALF_CLOSED: (Status.ABORTED, "the half-closed tunnel was silent for too long"),
    Reason.STOPPED: (Status.UNAVAILABLE, "the server is shutting down"),
}


class HTTPProxy(HTTPProxyBase):
    """Serves tunnels. `live` holds those that are open, for the drain and for the pages."""

    def __init__(self, settings: ServerSettings, dialler: Dialler, metrics: Metrics, log: AccessLog) -> None:
        self._settings = settings
        self._dialler = dialler
        self._metrics = metrics
        self._log = log
        self.draining = False
        self.live: set[Relay] = set()
        self._opening: set[asyncio.Task[None]] = set()
        self._stopped = False
        self._calls = 0
        self._no_calls = asyncio.Event()
        self._no_calls.set()

    async def wait_idle(self) -> None:
        """Waits until no tunnel is open, nor about to be."""
        await self._no_calls.wait()

    def stop(self) -> None:
        """Ends every tunnel with UNAVAILABLE, open or not yet."""
        self._stopped = True
        for task in self._opening:
            task.cancel()
        for relay in list(self.live):
            relay.stop(Reason.STOPPED)

    async def Run(self, stream: Call) -> None:
        self._calls += 1
        self._no_calls.clear()
        try:
            await self._run(stream)
        finally:
            self._calls -= 1
            if not self._calls:
                self._no_calls.set()

    async def _run(self, stream: Call) -> None:
        visit = _visit(stream, current_user.get())
        self._metrics.handshake_began()
        task = asyncio.current_task()
        assert task is not None
        self._opening.add(task)
        try:
            visit.host_port = await self._requested(stream)
            destination = await self._connect(stream, visit)
        except GRPCError as error:
            self._refused(visit, error.status, error.message)
            raise
        except (asyncio.CancelledError, StreamTerminatedError) as error:
            if self._stopped and isinstance(error, asyncio.CancelledError) and not task.uncancel():
                stopped = GRPCError(*_ENDINGS[Reason.STOPPED])
                self._refused(visit, stopped.status, stopped.message)
                raise stopped from None
            self._refused(visit, Status.CANCELLED, "the client gave up")
            raise
        finally:
            self._opening.discard(task)
            self._metrics.handshake_ended()
        visit.opened_after = time.perf_counter() - visit.began
        self._metrics.handshake_seconds.observe(visit.opened_after)
        visit.code, visit.status = _GO_NAMES[Status.OK], 200
        self._log.answered(visit, opened=True)
        await self._tunnel(stream, destination, visit)

    def turned_away(self, stream: Call, error: GRPCError) -> None:
        """A call that was refused before it came here, for its credentials."""
        self._refused(_visit(stream, "-"), error.status, error.message)

    def _refused(self, visit: Visit, status: Status, text: str | None) -> None:
        visit.code = _GO_NAMES[status]
        visit.status = visit.status or _HTTP_STATUSES.get(status, 500)
        visit.text = text or ""
        self._metrics.refused(visit.code)
        self._log.answered(visit, opened=False)

    async def _requested(self, stream: Call) -> str:
        """The destination that the first packet asks for."""
        if self.draining:
            raise GRPCError(*_ENDINGS[Reason.STOPPED])
        try:
            with Limit(_REQUEST_TIMEOUT):
                packet = await stream.recv_message()
        except TimeoutError:
            raise GRPCError(Status.DEADLINE_EXCEEDED, f"no connect_request in {_REQUEST_TIMEOUT:g} s") from None
        kind = packet.WhichOneof("union") if packet is not None else "end of call"
        if packet is None or kind != "connect_request":
            raise GRPCError(Status.FAILED_PRECONDITION, f"got wrong packet type: {kind}, expected connect_request")
        return packet.connect_request.host_port

    async def _connect(self, stream: Call, visit: Visit) -> Held:
        """Dials, and tells the client how that went."""
        began = time.perf_counter()
        answer, metadata = ConnectResponse(), {ABILITIES_KEY: OUR_ABILITIES}
        destination, failed = None, None
        try:
            destination = await self._dialler.dial(visit.host_port)
        except DialError as error:
            failed = error
            visit.status = error.failure.http_status
            answer.error.status_code, answer.error.error = visit.status, str(error)
            metadata[ERROR_KEY] = error.failure.proxy_status
        self._metrics.dialled(failed.kind.value if failed else "ok", time.perf_counter() - began)
        try:
            await stream.send_initial_metadata(metadata=metadata)
            await stream.send_message(Packet(connect_response=answer))
        except BaseException:
            if destination:
                destination.transport.abort()
            raise
        if destination is None:
            assert failed is not None
            raise GRPCError(failed.failure.grpc_status, str(failed))
        return destination

    async def _tunnel(self, stream: Call, destination: Held, visit: Visit) -> None:
        assert stream.metadata is not None
        half_close = HALF_CLOSE in abilities(stream.metadata.get(ABILITIES_KEY))
        payload = open_payload(stream, half_close=half_close)
        ended: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()
        relay = Relay(
            destination.transport,
            payload,
            idle_timeout=self._settings.idle_timeout,
            half_close_timeout=self._settings.half_close_timeout,
            on_end=lambda how: None if ended.done() else ended.set_result(how),
            answerer=Side.LOCAL,
            on_first_byte=self._metrics.first_byte_seconds.observe,
        )
        self._entered(relay)
        try:
            relay.start(destination.early, ended=destination.eof, lost=destination.lost)
            await self._end(payload, await ended)
        finally:
            relay.stop(Reason.CANCELLED)
            payload.abort()
            self._left(relay)
            self._log.ended(visit, relay)

    def _entered(self, relay: Relay) -> None:
        self.live.add(relay)
        self._metrics.tunnel_opened(relay)

    def _left(self, relay: Relay) -> None:
        self.live.discard(relay)
        self._metrics.tunnel_ended(relay)

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


def _visit(stream: Call, user: str) -> Visit:
    peer = stream.peer.addr()
    remote = join_host_port(peer[0].removeprefix("::ffff:"), peer[1]) if peer else "-"
    return Visit(remote, user=user, metadata=stream.metadata)


# What an HTTP proxy would say, for readers of the log that know HTTP only; a failed dial has its own.
_HTTP_STATUSES = {
    Status.UNAUTHENTICATED: 407,
    Status.FAILED_PRECONDITION: 400,
    Status.CANCELLED: 499,
    Status.UNAVAILABLE: 503,
    Status.DEADLINE_EXCEEDED: 504,
}

# The log says statuses as Go prints them (codes.Code.String).
_GO_NAMES = {status: status.name.title().replace("_", "") for status in Status} | {
    Status.OK: "OK",
    Status.CANCELLED: "Canceled",
}
