"""Connections of HTTP/1.1: Hypercorn serves them, within limits of ours.

Hypercorn waits without a limit for a client that does not read its response, and again at shutdown, so that the
process never ends. Here

1. a connection without progress for a minute is ended: no byte received, none taken by the network;
2. at shutdown every request has until the end of the drain, then it is ended;
3. once Hypercorn closes a connection, pipelined requests behind the last answer are not waited for.

A connection is ended by a reset; its requests are cancelled, and received bytes that were not read yet are dropped:
then Hypercorn's own tasks end. Idle connections are Hypercorn's: it closes them after 5 s, and at once at shutdown.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, cast

from hypercorn.events import Closed, RawData
from hypercorn.protocol.h11 import H2CProtocolRequiredError, H2ProtocolAssumedError, H11Protocol

from pog.server.service import TRAILERS_TIMEOUT
from pog.tunnel.relay import reset

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from hypercorn.asyncio.tcp_server import TCPServer
    from hypercorn.config import Config
    from hypercorn.events import Event
    from hypercorn.typing import AppWrapper, ConnectionState, TaskGroup, WorkerContext

    from pog.server.asgi import Address
    from pog.server.dispatch import EngineApp

log = logging.getLogger("pog.server")

# As nginx's send_timeout and Apache's Timeout; seconds.
NO_PROGRESS_TIMEOUT = 60.0
# Checks within that time.
_CHECKS = 4
# A task that still waits while it cleans up is cancelled again after this; seconds.
_CANCEL_INTERVAL = 0.1


class Http1Protocol:
    """One connection. `initiate` and `handle` are what Hypercorn's ProtocolWrapper calls; the work is H11Protocol's."""

    def __init__(
        self,
        app: EngineApp,
        wrapper: AppWrapper,
        config: Config,
        context: WorkerContext,
        task_group: TaskGroup,
        connection_state: ConnectionState,
        ssl: bool,
        client: Address | None,
        server: Address | None,
        send: Callable[[Event], Awaitable[None]],
    ) -> None:
        self._drain_timeout = app.drain_timeout
        self._app = cast("Any", wrapper)
        self._context = context
        self._send = send
        self._owner = cast("TCPServer", send.__self__)  # type: ignore[attr-defined]
        app_of_ours = cast("AppWrapper", self._serve)
        self._inner = H11Protocol(
            app_of_ours, config, context, task_group, connection_state, ssl, client, server, self._sent
        )
        self._received_bytes = self._sent_bytes = 0
        self._closing = self._ended = False
        self._watch: asyncio.Task[None] | None = None
        # Tasks that read input, and tasks that serve requests.
        self._work: set[asyncio.Task[None]] = set()
        self._requests: set[asyncio.Task[Any]] = set()

    async def initiate(self) -> None:
        await self._inner.initiate()
        self._watch = while_connected(self._watch_over(), "http1-watch")

    async def handle(self, event: Event) -> None:
        """Input, and the end. Raises what ProtocolWrapper expects when the connection continues as HTTP/2."""
        if isinstance(event, RawData):
            self._received_bytes += len(event.data)
            if self._closing:
                return
        if self._ended:
            return
        work = asyncio.create_task(self._inner.handle(event), name="http1-input")
        self._work.add(work)
        try:
            await asyncio.wait([work])
        except asyncio.CancelledError:
            work.cancel()
            raise
        finally:
            self._work.discard(work)
        if not work.cancelled():
            self._check(work)

    def _check(self, work: asyncio.Task[None]) -> None:
        try:
            work.result()
        except (H2ProtocolAssumedError, H2CProtocolRequiredError):
            if self._watch is not None:
                self._watch.cancel()
            raise

    async def _serve(self, *call: Any) -> None:
        """Stands in for the app, to know the tasks that call it."""
        task = asyncio.current_task()
        assert task is not None
        self._requests.add(task)
        task.add_done_callback(self._requests.discard)
        await self._app(*call)

    async def _sent(self, event: Event) -> None:
        if isinstance(event, RawData):
            self._sent_bytes += len(event.data)
        elif isinstance(event, Closed):
            self._closing = True
            for work in self._work - {asyncio.current_task()}:
                work.cancel()
        await self._send(event)

    # The end

    def _moved(self) -> tuple[int, int]:
        """Bytes received, and bytes that the kernel has accepted."""
        return self._received_bytes, self._sent_bytes - self._owner.writer.transport.get_write_buffer_size()

    async def _watch_over(self) -> None:
        """Ends the connection at a limit."""
        loop = asyncio.get_running_loop()
        progress, pause, drained_at = Progress(loop.time(), self._moved()), NO_PROGRESS_TIMEOUT / _CHECKS, None
        while True:
            if drained_at is not None:
                await asyncio.sleep(max(0.0, min(pause, drained_at - loop.time())))
            elif await _is_set_within(self._context.terminated, pause):
                drained_at = loop.time() + self._drain_timeout
            now = loop.time()
            if (seconds := progress.stalled_for(now, self._moved())) >= NO_PROGRESS_TIMEOUT:
                log.info("a connection of HTTP/1.1 without progress for %g s is ended", seconds)
                break
            if drained_at is not None and now >= drained_at:
                log.info("a connection of HTTP/1.1 is still open and is cut")
                break
        await self._end()

    async def _end(self) -> None:
        self._closing = self._ended = True
        reset(cast("asyncio.Transport", self._owner.writer.transport))
        self._owner.reader._buffer.clear()  # type: ignore[attr-defined]
        while tasks := self._work | self._requests:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=_CANCEL_INTERVAL)


class Progress:
    """How long a connection has made no progress, as of its checks. Times in seconds."""

    def __init__(self, now: float, moved: object) -> None:
        self._since = now
        self._moved = moved

    def stalled_for(self, now: float, moved: object) -> float:
        """How long nothing has moved; `moved` compares equal while nothing does."""
        if moved != self._moved:
            self._since, self._moved = now, moved
        return now - self._since


def while_connected(work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
    """Runs `work` until the connection ends, whose task is the current one.

    Not in the connection's task group: that ends before the transport is closed.
    """
    connection, watch = asyncio.current_task(), asyncio.create_task(work, name=name)
    assert connection is not None
    connection.add_done_callback(lambda _: watch.cancel())
    return watch


async def cut_after_drain(app: EngineApp, context: WorkerContext, owner: TCPServer) -> None:
    """For a connection of Hypercorn's own HTTP/2: at the server's end it waits for a client that reads nothing, too."""
    await context.terminated.wait()
    await asyncio.sleep(app.drain_timeout + TRAILERS_TIMEOUT)
    reset(cast("asyncio.Transport", owner.writer.transport))


async def _is_set_within(event: Any, seconds: float) -> bool:
    """Whether Hypercorn's event is set by then."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True
