"""One server as the client sees it: tunnels through it, and its pages."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from h2.errors import ErrorCodes

from pog.auth.tokens import IdTokens, source
from pog.client.exits.attempt import RUN, GrpcAttempt
from pog.client.exits.connect import Target, connect
from pog.client.exits.credentials import METHOD, CredentialsTrial
from pog.client.exits.headers import call_headers, page_headers
from pog.client.exits.pool import Limits, Pool
from pog.errors import ExitUnavailable, TunnelError
from pog.net.resolve import Resolver

if TYPE_CHECKING:
    from collections.abc import Callable

    from pog.config.exits import ServerExit
    from pog.errors import Failure
    from pog.http2.session import Session
    from pog.observe.metrics import Metrics
    from pog.tunnel.request import Tunnel, TunnelRequest

log = logging.getLogger(__name__)

# A page of metrics is some 100 KiB.
_MAX_PAGE_BYTES = 16 * 1024 * 1024


class GrpcExit:
    """Connects when started, and keeps connected until closed. `on_dead` is the pool's."""

    def __init__(self, settings: ServerExit, metrics: Metrics, on_dead: Callable[[], None] | None = None) -> None:
        self._metrics = metrics
        self._target = Target.of(settings)
        self._resolver = Resolver()
        login = settings.login
        self._headers = call_headers(
            RUN,
            scheme=self._target.scheme,
            authority=self._target.authority,
            authorization=login.basic() if login is not None else None,
            abilities=True,
        )
        self.name = settings.name
        self._trial: CredentialsTrial | None = None
        if login is not None:
            self._trial = CredentialsTrial(self.name, settings.login_from or "its login")
            self._trial_headers = call_headers(
                METHOD, scheme=self._target.scheme, authority=self._target.authority, authorization=login.basic()
            )
        self._tokens: IdTokens | None = None
        if settings.iam:
            audience = f"https://{self._target.host.removesuffix('.')}"
            self._tokens = IdTokens(self.name, source(settings.iam, audience))
        limits = Limits(wait=settings.wait, age=settings.max_connection_age, fail_fast=settings.fail_fast)
        self._pool: Pool[Session] = Pool(self.name, self._dial, limits, metrics.waiters, on_dead)

    @property
    def problem(self) -> str:
        """Why no connection takes new streams; empty when one does."""
        return self._pool.problem

    @property
    def down(self) -> bool:
        """Whether there is no connection and the last attempt to get one failed."""
        return self._pool.down

    def start(self) -> None:
        if self._tokens is not None:
            self._tokens.start()
        self._pool.start()

    def retire(self) -> None:
        """Opens no more tunnels; those that are open go on, and their connections end with them."""
        self._pool.retire()
        self._end_trial()
        if self._tokens is not None:
            self._tokens.cancel()

    async def close(self) -> None:
        self._end_trial()
        await self._pool.close()
        if self._tokens is not None:
            await self._tokens.close()

    async def _dial(self) -> Session:
        began = time.perf_counter()
        try:
            if self._tokens is not None:
                await self._tokens.ready()
            session = await connect(self._target, self._pool, self._resolver)
        except ExitUnavailable:
            self._metrics.server_dialled(ok=False, seconds=time.perf_counter() - began)
            raise
        self._metrics.server_dialled(ok=True, seconds=time.perf_counter() - began)
        self._metrics.session_opened(session)
        log.info("exit %s: connected", self.name)
        if self._trial is not None:
            self._trial.begin(session, self._with_token(self._trial_headers))
        return session

    def _end_trial(self) -> None:
        if self._trial is not None:
            self._trial.cancel()

    def open(self, request: TunnelRequest, done: Callable[[Tunnel | Failure], None]) -> GrpcAttempt:
        """Begins to open a tunnel; `done` is called once with the tunnel, or with what the user is to be told."""
        headers = self._headers if self._tokens is None else self._with_token(self._headers)
        attempt = GrpcAttempt(self.name, self._pool, headers, request, self._metrics, done)
        attempt.begin()
        return attempt

    def _with_token(self, headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
        token = self._tokens.header() if self._tokens is not None else None
        return headers if token is None else [*headers, token]

    async def fetch(self, path: str) -> tuple[int, bytes | None]:
        """Status and content of one of the server's pages; None for content that breaks off. Raises PogError."""
        session = await self._pool.acquire()
        headers = self._with_token(page_headers(path, scheme=self._target.scheme, authority=self._target.authority))
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
