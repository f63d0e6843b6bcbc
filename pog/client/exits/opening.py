"""One tunnel on its way: on the first connection with room, and once more when nothing came back on that one."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from grpclib.const import Status
from h2.errors import ErrorCodes

from pog.client.exits.call import RUN, Call, TunnelRefused, refused_by_server
from pog.errors import ConnectionLost, ExitUnavailable, PogError, StreamsExhausted, TunnelError, TunnelReset
from pog.front.http1 import Refusal
from pog.process.timers import after

if TYPE_CHECKING:
    from collections.abc import Callable

    from pog.client.exits.call import Opened
    from pog.client.exits.pool import Pool
    from pog.http2.fields import Headers
    from pog.http2.session import Session
    from pog.observe.metrics import Metrics

    # The tunnel, or what the user is to be told: TunnelRefused or ExitUnavailable.
    Result = asyncio.Transport | PogError
    Done = Callable[[Result], None]

log = logging.getLogger(__name__)

# A Cloud Run service that was scaled to zero first has to start; the server's own dial takes up to 10 s. Seconds.
HANDSHAKE_TIMEOUT = 60.0


class Opening:
    """`done` is called once with the result, perhaps within `begin`, unless the opening is cancelled before.

    When a connection has room there is no task. When none has, a task waits for one.
    """

    __slots__ = ("_began", "_call", "_done", "_headers", "_host_port", "_metrics", "_pool", "_timer", "_tried", "_wait")

    def __init__(
        self,
        pool: Pool[Session],
        headers: Headers,
        host_port: str,
        metrics: Metrics,
        done: Done,
    ) -> None:
        self._pool = pool
        self._headers = headers
        self._host_port = host_port
        self._metrics = metrics
        self._done: Done | None = done
        self._call: Call | None = None
        self._wait: asyncio.Task[None] | None = None
        self._tried: Session | None = None
        self._began = 0.0
        self._timer = after(HANDSHAKE_TIMEOUT, self._late)

    def begin(self) -> None:
        session = self._pool.pick(self._tried)
        if session is not None:
            self._try(session)
        else:
            self._wait = asyncio.get_running_loop().create_task(self._acquire(), name="wait for a connection")

    def cancel(self) -> None:
        """Gives it up: a call under way is reset."""
        self._done = None
        self._timer.cancel()
        if self._wait is not None:
            self._wait.cancel()
        if self._call is not None:
            self._call.cancel()
            self._completed(Status.CANCELLED)

    async def _acquire(self) -> None:
        try:
            session = await self._pool.acquire(self._tried)
        except ExitUnavailable as error:
            self._wait = None
            self._finish(error)
        else:
            self._wait = None
            self._try(session)

    def _try(self, session: Session) -> None:
        again, self._tried = self._tried is not None, session
        self._began = time.perf_counter()
        try:
            self._call = Call(session, self._headers, self._host_port, lambda opened: self._answered(opened, again))
        except (StreamsExhausted, ConnectionLost) as error:
            self._unanswered(error, again)
        else:
            self._metrics.rpc_started(RUN)

    def _answered(self, opened: Opened, again: bool) -> None:
        call, self._call = self._call, None
        if isinstance(opened, TunnelRefused):
            self._completed(opened.status)
            self._finish(opened)
        elif isinstance(opened, TunnelError):
            self._completed(Status.UNAVAILABLE)
            if _harmless(opened) and call is not None and not call.answered:
                self._unanswered(opened, again)
            elif isinstance(opened, ConnectionLost):
                self._finish(ExitUnavailable(str(opened)))
            else:
                self._finish(refused_by_server(Status.INTERNAL, str(opened)))
        else:
            self._finish(opened)

    def _unanswered(self, error: Exception, again: bool) -> None:
        """The server has done nothing for this call, so another try can do no harm."""
        if again:
            self._finish(ExitUnavailable(str(error)))
        else:
            log.debug("once more after: %s", error)
            self.begin()

    def _late(self) -> None:
        if self._done is not None:
            done = self._done
            self.cancel()
            text = f"no answer from the server within {HANDSHAKE_TIMEOUT:g} s"
            done(TunnelRefused(Status.DEADLINE_EXCEEDED, Refusal(504, text, "connection_timeout")))

    def _finish(self, result: Result) -> None:
        self._timer.cancel()
        done, self._done = self._done, None
        if done is not None:
            done(result)

    def _completed(self, status: Status) -> None:
        self._metrics.rpc_completed(RUN, status, time.perf_counter() - self._began)


def _harmless(error: TunnelError) -> bool:
    refused = isinstance(error, TunnelReset) and error.by_peer and error.code == ErrorCodes.REFUSED_STREAM
    return refused or isinstance(error, ConnectionLost)
