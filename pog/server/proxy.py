"""The tunnel service: one call is one tunnel to one destination."""

from __future__ import annotations

import asyncio
import time
from contextvars import ContextVar
from typing import TYPE_CHECKING, cast

from grpclib.const import Status
from grpclib.exceptions import GRPCError

from pog.address import join_host_port
from pog.errors import DialError, ProtocolViolation
from pog.proto.grpcproxy_grpc import HTTPProxyBase
from pog.proto.grpcproxy_pb2 import ConnectResponse, HTTPError, Packet
from pog.relay import Ended, Reason, Relay, Side
from pog.tunnel.abilities import ABILITIES_KEY, HALF_CLOSE, OUR_ABILITIES, abilities
from pog.tunnel.payload import PayloadTransport, open_payload

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    import grpclib.server

    from pog.accesslog import AccessLog
    from pog.metrics import Metrics
    from pog.server.dial import Dialler
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
            sock = await self._connect(stream, host_port)
        except GRPCError as error:
            code = error.status
            raise
        except asyncio.CancelledError:
            code = Status.CANCELLED
            raise
        finally:
            self._record(stream, host_port, code)
        await self._tunnel(stream, sock)

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

    async def _connect(self, stream: Call, host_port: str) -> socket.socket:
        """Dials, and tells the client how that went."""
        began = time.perf_counter()
        await stream.send_initial_metadata(metadata={ABILITIES_KEY: OUR_ABILITIES})
        try:
            sock = await self._dialler.dial(host_port)
        except DialError as error:
            self._metrics.dialled(error.kind.value, time.perf_counter() - began)
            failure = error.failure
            refusal = HTTPError(status_code=failure.http_status, error=str(error))
            await stream.send_message(Packet(connect_response=ConnectResponse(error=refusal)))
            raise GRPCError(failure.grpc_status, str(error)) from None
        self._metrics.dialled("ok", time.perf_counter() - began)
        try:
            await stream.send_message(Packet(connect_response=ConnectResponse()))
        except BaseException:
            sock.close()
            raise
        return sock

    async def _tunnel(self, stream: Call, sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        assert stream.metadata is not None
        half_close = HALF_CLOSE in abilities(stream.metadata.get(ABILITIES_KEY))
        payload = open_payload(stream, half_close=half_close)
        ended: asyncio.Future[Ended] = loop.create_future()
        relay: Relay | None = None

        def begin(local: asyncio.Transport) -> None:
            nonlocal relay
            if ended.done():  # cancelled before the loop came to it
                local.abort()
                return
            relay = Relay(
                local,
                payload,
                idle_timeout=self._settings.idle_timeout,
                half_close_timeout=self._settings.half_close_timeout,
                on_end=lambda how: None if ended.done() else ended.set_result(how),
                answerer=Side.LOCAL,
                on_first_byte=self._metrics.first_byte_seconds.observe,
            )
            self._entered(relay)
            relay.start()

        try:
            await loop.create_connection(lambda: _Destination(begin), sock=sock)
            how = await ended
            await self._end(payload, how)
        finally:
            ended.cancel()
            if relay is not None:
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


class _Destination(asyncio.Protocol):
    """Hands a new socket over before its first byte is read: a destination may speak first.

    It cannot be held unread until later: uvloop reads once connection_made returns, whether paused there or not.
    """

    def __init__(self, begin: Callable[[asyncio.Transport], None]) -> None:
        self._begin = begin

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._begin(cast("asyncio.Transport", transport))


# The log says statuses as Go prints them (codes.Code.String).
_GO_NAMES = {status: status.name.title().replace("_", "") for status in Status} | {
    Status.OK: "OK",
    Status.CANCELLED: "Canceled",
}
