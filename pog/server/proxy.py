"""The tunnel service: one call is one tunnel to one destination."""

from __future__ import annotations

import asyncio
import time
from contextvars import ContextVar
from typing import TYPE_CHECKING

from grpclib.const import Status
from grpclib.exceptions import GRPCError

from pog.address import join_host_port
from pog.errors import DialError, ProtocolViolation
from pog.proto.grpcproxy_grpc import HTTPProxyBase
from pog.proto.grpcproxy_pb2 import ConnectResponse, Packet
from pog.relay import Ended, Reason, Relay, Side
from pog.tunnel.abilities import ABILITIES_KEY, HALF_CLOSE, OUR_ABILITIES, abilities
from pog.tunnel.payload import PayloadTransport, open_payload

if TYPE_CHECKING:
    import grpclib.server

    from pog.accesslog import AccessLog
    from pog.metrics import Metrics
    from pog.server.dial import Dialler, Held
    from pog.settings import ServerSettings

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
        self._none_live = asyncio.Event()
        self._none_live.set()

    async def wait_idle(self) -> None:
        """Waits until no tunnel is open."""
        await self._none_live.wait()

    def stop(self) -> None:
        """Ends every open tunnel with UNAVAILABLE."""
        for relay in list(self.live):
            relay.stop(Reason.STOPPED)

    async def Run(self, stream: Call) -> None:
        host_port, code = "-", Status.OK
        try:
            host_port = await self._requested(stream)
            destination = await self._connect(stream, host_port)
        except GRPCError as error:
            code = error.status
            raise
        except asyncio.CancelledError:
            code = Status.CANCELLED
            raise
        finally:
            self._record(stream, host_port, code)
        await self._tunnel(stream, destination)

    def _record(self, stream: Call, host_port: str, code: Status) -> None:
        peer = stream.peer.addr()
        remote = join_host_port(peer[0].removeprefix("::ffff:"), peer[1]) if peer else "-"
        self._log.tunnel(host_port, current_user.get(), remote, _GO_NAMES[code])

    async def _requested(self, stream: Call) -> str:
        """The destination that the first packet asks for."""
        if self.draining:
            raise GRPCError(*_ENDINGS[Reason.STOPPED])
        try:
            async with asyncio.timeout(_REQUEST_TIMEOUT):
                packet = await stream.recv_message()
        except TimeoutError:
            raise GRPCError(Status.DEADLINE_EXCEEDED, f"no connect_request in {_REQUEST_TIMEOUT:g} s") from None
        kind = packet.WhichOneof("union") if packet is not None else "end of call"
        if packet is None or kind != "connect_request":
            raise GRPCError(Status.FAILED_PRECONDITION, f"got wrong packet type: {kind}, expected connect_request")
        return packet.connect_request.host_port

    async def _connect(self, stream: Call, host_port: str) -> Held:
        """Dials, and tells the client how that went."""
        began = time.perf_counter()
        answer = ConnectResponse()
        destination, failed = None, None
        try:
            destination = await self._dialler.dial(host_port)
        except DialError as error:
            failed = error
            answer.error.status_code, answer.error.error = error.failure.http_status, str(error)
        self._metrics.dialled(failed.kind.value if failed else "ok", time.perf_counter() - began)
        try:
            await stream.send_initial_metadata(metadata={ABILITIES_KEY: OUR_ABILITIES})
            await stream.send_message(Packet(connect_response=answer))
        except BaseException:
            if destination:
                destination.transport.abort()
            raise
        if destination is None:
            assert failed is not None
            raise GRPCError(failed.failure.grpc_status, str(failed))
        return destination

    async def _tunnel(self, stream: Call, destination: Held) -> None:
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
            relay.stop()
            payload.abort()
            self._left(relay)

    def _entered(self, relay: Relay) -> None:
        self.live.add(relay)
        self._none_live.clear()
        self._metrics.tunnel_opened(relay)

    def _left(self, relay: Relay) -> None:
        self.live.discard(relay)
        if not self.live:
            self._none_live.set()
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


# The log says statuses as Go prints them (codes.Code.String).
_GO_NAMES = {status: status.name.title().replace("_", "") for status in Status} | {
    Status.OK: "OK",
    Status.CANCELLED: "Canceled",
}
