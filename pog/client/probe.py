"""Single calls to a server, for `pog health` and `pog stacks`: connect, one message up, one down, done.

A container's health check runs this every few seconds, so nothing is imported that it can do without.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from grpclib.const import Status
from grpclib.health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from pog.client.exits.connect import Target, connect
from pog.client.exits.headers import call_headers
from pog.client.exits.unary import M, unary
from pog.errors import CallFailed, ExitUnavailable
from pog.net.address import join_host_port
from pog.net.resolve import Resolver
from pog.proto import gstacks_pb2, healthcheck_pb2

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from google.protobuf.message import Message

    from pog.config.exits import ServerExit
    from pog.http2.session import Session

SERVING = "SERVING"

# A server that does not close its side of an ended connection is not waited for longer; seconds.
_CLOSE_TIMEOUT = 1.0


async def health(exit: ServerExit, service: str, limit: float) -> str:
    """What the server says of one of its services, or of itself when `service` is empty: SERVING or another word.

    The Go original has no grpc.health.v1: that it answers its own health check is SERVING. Raises PogError when there
    is no answer within `limit` seconds, or another one.
    """
    async with _calls(exit, limit) as calls:
        request = HealthCheckRequest(service=service)
        try:
            answer = await calls.unary("grpc.health.v1.Health/Check", request, HealthCheckResponse)
            return HealthCheckResponse.ServingStatus.Name(answer.status)
        except CallFailed as error:
            if service or error.status is not Status.UNIMPLEMENTED:
                raise
        await calls.unary("healthcheck.Healthcheck/Invoke", healthcheck_pb2.Request(), healthcheck_pb2.Response)
        return SERVING


async def stacks(exit: ServerExit, limit: float) -> str:
    """The stacks of all tasks and threads of the server, as text. Raises PogError."""
    async with _calls(exit, limit) as calls:
        try:
            answer = await calls.unary("gstacks.GoroutineStacks/Invoke", gstacks_pb2.Request(), gstacks_pb2.Response)
        except CallFailed as error:
            if error.status is not Status.UNIMPLEMENTED:
                raise
            hint = "it serves no stacks; start it with STACKS=1 or with auth items (POG_AUTH_*)"
            raise CallFailed(error.status, hint) from None
        return answer.data


@asynccontextmanager
async def _calls(exit: ServerExit, limit: float) -> AsyncIterator[_Calls]:
    """A connection for calls that are all done within `limit` seconds. Raises ExitUnavailable."""
    target = Target.of(exit)
    try:
        async with asyncio.timeout(limit):
            session = await _connect(target)
            try:
                yield _Calls(session, target, exit.login.basic() if exit.login else None)
                session.drain()
                await asyncio.wait((session.closed,), timeout=_CLOSE_TIMEOUT)
            finally:
                session.abort("done")
    except TimeoutError:
        raise ExitUnavailable(f"no answer from {exit.server} within {limit:g} s") from None


async def _connect(target: Target) -> Session:
    try:
        return await connect(target, _NoPool(), Resolver())
    except ExitUnavailable as error:
        raise ExitUnavailable(f"{join_host_port(target.host, target.port)}: {error}") from None


class _NoPool:
    """Nobody waits for what happens to the connection: the next user of it notices."""

    def stream_ended(self) -> None:
        pass

    def draining(self, session: Session) -> None:
        pass

    def lost(self, session: Session, reason: str) -> None:
        pass


class _Calls:
    """Unary calls on one connection."""

    def __init__(self, session: Session, target: Target, authorization: str | None) -> None:
        self._session = session
        self._target = target
        self._authorization = authorization

    async def unary(self, method: str, request: Message, answer: type[M]) -> M:
        """Raises CallFailed with the status of the call, and TunnelError when it breaks."""
        target = self._target
        headers = call_headers(
            method, scheme=target.scheme, authority=target.authority, authorization=self._authorization
        )
        return await unary(self._session, headers, request, answer)
