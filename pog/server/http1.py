"""A connection of HTTP/1.1: Hypercorn's, with an end to it.

Hypercorn waits without a limit for a client that takes nothing of its answer, and at the server's end it waits for such
a client again, so that the process never ends. Here

1. a connection on which no byte moves for a minute is ended: none arrives, and none leaves for the network;
2. when the server ends, every request has until the end of the drain, and what is left then is ended;
3. once Hypercorn closes a connection, it does not wait for the requests that came behind the one it answered.

To end a connection is to reset it, to cancel what serves its requests, and to drop what was received and not read yet:
then Hypercorn's own tasks come to their end. An idle connection is its business: it closes that after 5 s,
and at once when the server ends.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, cast

from hypercorn.events import Closed, RawData
from hypercorn.protocol.h11 import H2CProtocolRequiredError, H2ProtocolAssumedError, H11Protocol

from pog.server.service import LAST_WORDS
from pog.tunnel.relay import reset

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from hypercorn.asyncio.tcp_server import TCPServer
    from hypercorn.config import Config
    from hypercorn.events import Event
    from hypercorn.typing import AppWrapper, ConnectionState, TaskGroup, WorkerContext

    from pog.server.asgi import Address
    from pog.server.dispatch import Served

log = logging.getLogger("pog.server")

# nginx's send_timeout and Apache's Timeout are of this size; seconds.
STILL_TIMEOUT = 60.0
# How often is looked in that time.
_LOOKS = 4
# What was cancelled may have to clean up, and be cancelled in that; seconds.
_CANCEL_AGAIN = 0.1


class Http1Protocol:
    """One connection. `initiate` and `handle` are what Hypercorn's ProtocolWrapper calls; the work is H11Protocol's."""

    def __init__(
        self,
        app: Served,
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
        # What takes in input, and what serves requests.
        self._work: set[asyncio.Task[None]] = set()
        self._requests: set[asyncio.Task[Any]] = set()

    async def initiate(self) -> None:
        await self._inner.initiate()
        self._watch = while_connected(self._watch_over(), "http1-watch")

    async def handle(self, event: Event) -> None:
        """Input, and the end. Raises what tells ProtocolWrapper that the connection goes on as one of HTTP/2."""
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
        """In the place of the app, to know what it is called by."""
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
        """Bytes received, and bytes that the network has taken."""
        return self._received_bytes, self._sent_bytes - self._owner.writer.transport.get_write_buffer_size()

    async def _watch_over(self) -> None:
        """Ends the connection when it is time."""
        loop = asyncio.get_running_loop()
        stillness, pause, drained_at = Stillness(loop.time(), self._moved()), STILL_TIMEOUT / _LOOKS, None
        while True:
            if drained_at is not None:
                await asyncio.sleep(max(0.0, min(pause, drained_at - loop.time())))
            elif await _is_set_within(self._context.terminated, pause):
                drained_at = loop.time() + self._drain_timeout
            now = loop.time()
            if (seconds := stillness.lasts(now, self._moved())) >= STILL_TIMEOUT:
                log.info("a connection of HTTP/1.1 on which nothing has moved for %g s is ended", seconds)
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
            await asyncio.wait(tasks, timeout=_CANCEL_AGAIN)


class Stillness:
    """Since when nothing has moved, as far as it was looked at. Times in seconds."""

    def __init__(self, now: float, moved: object) -> None:
        self._since = now
        self._moved = moved

    def lasts(self, now: float, moved: object) -> float:
        """For how long nothing has moved; `moved` is equal as long as nothing does."""
        if moved != self._moved:
            self._since, self._moved = now, moved
        return now - self._since


def while_connected(work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
    """Runs beside the connection, whose task is the present one, and is cancelled with its end.

    Not in the connection's task group: that ends before the transport is closed.
    """
    connection, watch = asyncio.current_task(), asyncio.create_task(work, name=name)
    assert connection is not None
    connection.add_done_callback(lambda _: watch.cancel())
    return watch


async def cut_after_drain(app: Served, context: WorkerContext, owner: TCPServer) -> None:
    """For a connection of Hypercorn's own HTTP/2: at the server's end it waits for a client that takes nothing, too."""
    await context.terminated.wait()
    await asyncio.sleep(app.drain_timeout + LAST_WORDS)
    reset(cast("asyncio.Transport", owner.writer.transport))


async def _is_set_within(event: Any, seconds: float) -> bool:
    """Whether Hypercorn's event is set by then."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True
