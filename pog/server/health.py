"""grpc.health.v1.Health: whether a service takes calls, asked once (Check) or followed (Watch).

The messages and the base class are grpclib's. Its ready-made service is not used: its Watch has no end, so that a
watcher would hold up the drain. The protocol: github.com/grpc/grpc, doc/health-checking.md.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from grpclib.const import Status
from grpclib.exceptions import GRPCError
from grpclib.health.v1.health_grpc import HealthBase
from grpclib.health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import TypeAlias

    import grpclib.server

    Call = grpclib.server.Stream[HealthCheckRequest, HealthCheckResponse]
    ServingStatus: TypeAlias = HealthCheckResponse.ServingStatus.ValueType

# Watchers need no credentials, so there is a limit; load balancers and orchestrators are a handful.
MAX_WATCHERS = 1000


class Health(HealthBase):
    """Every service named in `services`, and "" for the server, is SERVING until `end` is called."""

    def __init__(self, services: Iterable[str]) -> None:
        self._services = {"", *services}
        self._ending = asyncio.Event()
        self._watchers = 0

    def end(self) -> None:
        """From now on NOT_SERVING. Watchers receive it, and their calls end."""
        self._ending.set()

    def _status(self, service: str) -> ServingStatus:
        if service not in self._services:
            return HealthCheckResponse.SERVICE_UNKNOWN
        return HealthCheckResponse.NOT_SERVING if self._ending.is_set() else HealthCheckResponse.SERVING

    async def Check(self, stream: Call) -> None:
        status = self._status(await _requested_service(stream))
        if status == HealthCheckResponse.SERVICE_UNKNOWN:
            raise GRPCError(Status.NOT_FOUND, "unknown service")
        await stream.send_message(HealthCheckResponse(status=status))

    async def Watch(self, stream: Call) -> None:
        """Ends with UNAVAILABLE, at which a client watches another server."""
        service = await _requested_service(stream)
        if self._watchers >= MAX_WATCHERS:
            raise GRPCError(Status.RESOURCE_EXHAUSTED, f"{MAX_WATCHERS} calls of Watch are open already")
        self._watchers += 1
        try:
            sent = self._status(service)
            await stream.send_message(HealthCheckResponse(status=sent))
            await self._ending.wait()
            if self._status(service) != sent:
                await stream.send_message(HealthCheckResponse(status=self._status(service)))
        finally:
            self._watchers -= 1
        raise GRPCError(Status.UNAVAILABLE, "the server is shutting down")


async def _requested_service(stream: Call) -> str:
    request = await stream.recv_message()
    if request is None:
        raise GRPCError(Status.INVALID_ARGUMENT, "the call has no message")
    return request.service
