"""One server as the client sees it: tunnels through it, and its pages."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from grpclib.const import Status
from h2.errors import ErrorCodes

from pog.client.call import (
    HANDSHAKE_TIMEOUT,
    RUN,
    USER_AGENT,
    TunnelRefused,
    handshake,
    refused_by_server,
    request_headers,
)
from pog.client.connect import Target, connect
from pog.client.pool import Limits, Pool
from pog.errors import ConnectionLost, ExitUnavailable, StreamsExhausted, TunnelError, TunnelReset
from pog.front.http1 import Refusal
from pog.tunnel.lane import LaneTransport

if TYPE_CHECKING:
    from pog.http2.session import Session
    from pog.metrics import Metrics
    from pog.settings import ClientSettings

log = logging.getLogger(__name__)

# A page of metrics is some 100 KiB.
_MAX_PAGE_BYTES = 16 * 1024 * 1024


class Exit:
    """Connects when started, and keeps connected until closed."""

    def __init__(self, settings: ClientSettings, metrics: Metrics) -> None:
        self._metrics = metrics
        self._target = Target.of(settings)
        login = settings.pog_auth
        self._headers = request_headers(
            scheme=self._target.scheme,
            authority=self._target.authority,
            authorization=login.basic() if login is not None else None,
        )
        self.name = str(settings.server_addr)
        limits = Limits(wait=settings.exit_wait, age=settings.max_connection_age)
        self._pool = Pool(self.name, self._dial, limits, metrics.waiters)

    def start(self) -> None:
        self._pool.start()

    async def close(self) -> None:
        await self._pool.close()

    async def _dial(self) -> Session:
        session = await connect(self._target, self._pool)
        log.info("exit %s: connected", self.name)
        return session

    async def open_tunnel(self, host_port: str) -> asyncio.Transport:
        """Raises TunnelRefused and ExitUnavailable."""
        try:
            async with asyncio.timeout(HANDSHAKE_TIMEOUT):
                return await self._open_tunnel(host_port)
        except TimeoutError:
            text = f"no answer from the server within {HANDSHAKE_TIMEOUT:g} s"
            raise TunnelRefused(Status.DEADLINE_EXCEEDED, Refusal(504, text, "connection_timeout")) from None

    async def _open_tunnel(self, host_port: str) -> asyncio.Transport:
        session = await self._pool.acquire()
        try:
            return await self._call(session, host_port)
        except _Unanswered as error:
            log.debug("exit %s: once more after: %s", self.name, error)
        try:
            return await self._call(await self._pool.acquire(avoid=session), host_port)
        except _Unanswered as error:
            raise ExitUnavailable(f"{self.name}: {error}") from error

    async def _call(self, session: Session, host_port: str) -> asyncio.Transport:
        """Raises _Unanswered when nothing came back from the server, so that another try can do no harm."""
        began = time.perf_counter()
        try:
            stream = session.open_stream(self._headers)
        except (StreamsExhausted, ConnectionLost) as error:
            raise _Unanswered(str(error)) from error
        self._metrics.rpc_started(RUN)
        status = Status.CANCELLED
        try:
            half_close = await handshake(stream, host_port)
            return LaneTransport(stream, half_close=half_close)
        except BaseException as error:
            stream.reset_nowait(ErrorCodes.CANCEL)
            stream.release()
            if isinstance(error, TunnelRefused):
                status = error.status
            self._metrics.rpc_completed(RUN, status, time.perf_counter() - began)
            if isinstance(error, TunnelError):
                raise _told(error, answered=stream.headers is not None) from error
            raise

    async def fetch(self, path: str) -> tuple[int, bytes | None]:
        """Status and content of one of the server's pages; None for content that breaks off. Raises PogError."""
        session = await self._pool.acquire()
        headers = [
            (":method", "GET"),
            (":scheme", self._target.scheme),
            (":path", path),
            (":authority", self._target.authority),
            ("user-agent", USER_AGENT),
        ]
        stream = session.open_stream(headers, end_stream=True)
        try:
            answer = dict(await stream.recv_headers())
            body = bytearray()
            try:
                while chunk := await stream.recv_chunk():
                    body += chunk
                    if len(body) > _MAX_PAGE_BYTES:
                        return int(answer[":status"]), None
            except TunnelError:
                return int(answer[":status"]), None
            return int(answer[":status"]), bytes(body)
        finally:
            stream.reset_nowait(ErrorCodes.CANCEL)
            stream.release()


class _Unanswered(Exception):
    """The call was lost before the server said anything."""


def _told(error: TunnelError, *, answered: bool) -> Exception:
    """What a broken handshake means."""
    refused = isinstance(error, TunnelReset) and error.by_peer and error.code == ErrorCodes.REFUSED_STREAM
    if not answered and (refused or isinstance(error, ConnectionLost)):
        return _Unanswered(str(error))
    if isinstance(error, ConnectionLost):
        return ExitUnavailable(str(error))
    return refused_by_server(Status.INTERNAL, str(error))
