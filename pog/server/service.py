"""The parts of one server behind its transport: the services, who may call them, the drain."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from grpclib.const import Handler, Status
from grpclib.exceptions import GRPCError, StreamTerminatedError
from grpclib.reflection.service import ServerReflection
from grpclib.utils import _service_name

from pog.auth.check import Authenticator
from pog.auth.expiry import ExpiryWatch
from pog.auth.reload import reload_auth
from pog.config.original import differences
from pog.errors import Refused
from pog.net.address import peer_text
from pog.net.dial import Dialler
from pog.net.egress import EgressPolicy
from pog.net.resolve import Resolver
from pog.observe.accesslog import AccessLog
from pog.observe.metrics import Metrics
from pog.observe.tunnels import TunnelObserver
from pog.server.health import Health
from pog.server.openness import CLOSED, HERE
from pog.server.proxy import HTTPProxy
from pog.server.services import GoroutineStacks, Healthcheck, SymbolPool
from pog.tunnel.live import Tunnels
from pog.tunnel.request import ANONYMOUS, User

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Any

    import grpclib.server
    from grpclib._typing import IServable

    from pog.config.server_settings import ServerSettings
    from pog.server.openness import Listening

    Call = grpclib.server.Stream[Any, Any]
    Method = Callable[[Call, User], Awaitable[None]]
    Admission = Callable[[Call], Awaitable[User]]

# Time for the trailers of tunnels that were cut to be sent, seconds.
TRAILERS_TIMEOUT = 1.0
# uvloop's timers may fire early by this much, seconds.
_TIMER_RESOLUTION = 0.002

log = logging.getLogger("pog.server")


class Server:
    """One server. `mapping` is what grpclib serves: path to handler; each handler checks credentials first."""

    def __init__(self, settings: ServerSettings, listening: Listening = HERE) -> None:
        self.settings = settings
        self._listening = listening
        self.tunnels = Tunnels()
        self.metrics = Metrics("server", settings, self.tunnels)
        self.auth = Authenticator(settings.auth_items, "POG_AUTH_", self.metrics)
        self.draining = False
        self._drain: asyncio.Task[None] | None = None
        self._stop: list[Callable[[], None]] = []
        dialler = Dialler(EgressPolicy(settings.egress_allow), settings.dial_timeout, Resolver())
        access_log = AccessLog(
            settings.access_log,
            style=settings.log_format,
            ends=settings.log_ends,
            on_dropped=self.metrics.log_dropped.inc,
        )
        observer = TunnelObserver("server", self.tunnels, self.metrics, access_log)
        self.proxy = HTTPProxy(settings, dialler, observer)
        (self.tunnel_path,) = self.proxy.__mapping__()
        services: list[IServable] = [self.proxy, Healthcheck(), *self._stacks()]
        self.health = Health(_service_name(each) for each in services)
        self.mapping = self._mapping(ServerReflection.extend([*services, self.health], pool=SymbolPool()))

    def _stacks(self) -> list[IServable]:
        """Stacks show who talks to whom: without credentials they are served only with STACKS=1."""
        served = bool(self.settings.auth_items) if self.settings.stacks is None else self.settings.stacks
        return [GoroutineStacks()] if served else []

    def _mapping(self, services: list[IServable]) -> dict[str, Handler]:
        return {
            path: handler._replace(func=self._measured(path.removeprefix("/"), *self._handling(service, handler)))
            for service in services
            for path, handler in service.__mapping__().items()
        }

    def _handling(self, service: IServable, handler: Handler) -> tuple[Method, Admission]:
        """What serves a method of this service, and what admits the call before."""

        async def serve(stream: Call, user: User) -> None:
            await handler.func(stream)

        if service is self.proxy:
            return self.proxy.run, self._admit_tunnel
        # Orchestrators that check health have no credentials.
        return serve, _admit_everyone if service is self.health else self._authenticate

    def _measured(self, method: str, serve: Method, admit: Admission) -> Callable[[Call], Awaitable[None]]:
        async def call(stream: Call) -> None:
            began = time.perf_counter()
            self.metrics.rpc_started(method)
            status = Status.UNKNOWN
            try:
                await serve(stream, await admit(stream))
                # The engine's streams keep why they broke; a tunnel then ends without an exception.
                status = Status.OK if getattr(stream._stream, "error", None) is None else Status.CANCELLED
            except GRPCError as error:
                status = error.status
                raise
            except NotImplementedError as error:  # grpclib raises it for a compressed message
                status = Status.UNIMPLEMENTED
                raise GRPCError(status, str(error)) from None
            except (StreamTerminatedError, asyncio.CancelledError):
                late = stream.deadline is not None and stream.deadline.time_remaining() < _TIMER_RESOLUTION
                status = Status.DEADLINE_EXCEEDED if late else Status.CANCELLED
                raise
            finally:
                seconds, below = time.perf_counter() - began, stream._stream
                self.metrics.rpc_completed(method, status, seconds, below.data_received, below.data_sent)

        return call

    async def _authenticate(self, stream: Call) -> User:
        """The user whose credentials the call brings. Raises GRPCError."""
        try:
            return await self._user(stream)
        except Refused as refused:
            raise GRPCError(refused.failure.wording.grpc_status, refused.failure.text) from None

    async def _admit_tunnel(self, stream: Call) -> User:
        try:
            if self.auth.is_open and not (self.settings.open_proxy or self._listening.only_loopback):
                raise Refused(CLOSED)
            return await self._user(stream)
        except Refused as refused:
            self.proxy.login_refused(stream, refused.failure)
            raise GRPCError(refused.failure.wording.grpc_status, refused.failure.text) from None

    async def _user(self, stream: Call) -> User:
        assert stream.metadata is not None
        value = stream.metadata.get("authorization")
        authorization = value if isinstance(value, str) else None
        user = self.auth.check_nowait(authorization)
        return user or await self.auth.check(authorization, peer_text(stream.peer.addr()))

    async def drain(self) -> None:
        """Refuses new tunnels, waits up to drain_timeout for the open ones, ends the rest. May be called repeatedly."""
        if self._drain is None:
            self._drain = asyncio.create_task(self._drain_once(), name="drain")
        await asyncio.shield(self._drain)

    async def _drain_once(self) -> None:
        self.draining = self.proxy.draining = True
        self.health.end()
        if self.tunnels:
            log.info("draining %d tunnels, at most %g s", len(self.tunnels), self.settings.drain_timeout)
        try:
            async with asyncio.timeout(self.settings.drain_timeout):
                await self.proxy.wait_idle()
        except TimeoutError:
            log.warning("%d tunnels were still open and are cut", len(self.tunnels))
            self.proxy.stop()

    def start(self, *, warn: bool = True) -> None:
        """Starts background work in the running event loop: metrics of the loop, reloading of auth items.

        `warn`: this process says what concerns all; of several workers one is enough.
        """
        if warn and (differs := differences(self.settings)):
            log.info("unlike the Go original: %s", differs)
        self.metrics.start()
        expiry = ExpiryWatch(lambda: self.auth.items, "POG_AUTH_", warns=warn)
        expiry.start()
        self._stop = [reload_auth(self.settings, self.auth, expiry.look), expiry.stop]

    def close(self) -> None:
        """Stops background work and the threads that check passwords."""
        for stop in self._stop:
            stop()
        self.auth.close()
        self.metrics.close()


async def _admit_everyone(stream: Call) -> User:
    """Asks for no credentials."""
    return ANONYMOUS
