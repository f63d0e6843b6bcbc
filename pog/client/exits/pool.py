"""The connections to one server, kept open: runs the dials, the timers and the waiting around what picker.py and
redial.py decide.

Everything that happens ends in `_update`, which is one synchronous step: it asks for all decisions at once and carries
them out. Nothing awaits between a decision and its record.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic

from pog.client.exits.picker import Picker, Request, S
from pog.client.exits.redial import Backoff, Redial
from pog.errors import WORDINGS, ExitUnavailable, FailureKind

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from prometheus_client import Gauge

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Limits:
    """`wait`: how long a request waits for a connection. `age`: of a connection that takes new streams; 0 is no limit.
    `urgent_interval`: between two dials while requests wait. Seconds, all of them. `waiting`: requests that may wait.
    `fail_fast`: requests wait for the dial under way only, and not at all once one has failed: others can serve them.
    Where a dial has failed for a reason that lasts (a certificate, a wrong setting) no request waits either.
    """

    wait: float
    age: float
    backoff: Backoff = field(default_factory=Backoff)
    urgent_interval: float = 1.0
    waiting: int = 1000
    fail_fast: bool = False


class Pool(Generic[S]):
    """`dial` opens one connection or raises ExitUnavailable; any other exception counts as a failed dial too.

    What happens to a connection later is to be reported by `stream_ended`, `draining` and `lost`. `on_dead` is called
    after each dial that fails while there is no connection; those that the server retires may still have streams.
    """

    def __init__(
        self,
        name: str,
        dial: Callable[[], Awaitable[S]],
        limits: Limits,
        waiting: Gauge,
        on_dead: Callable[[], None] | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._name = name
        self._dial = dial
        self._limits = limits
        self._waiting = waiting
        self._on_dead = on_dead
        self._redial = Redial(limits.backoff, limits.urgent_interval)
        self._picker: Picker[S] = Picker(self._redial, limits.age)
        self._dials: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._again_at: float | None = None  # what the timer is set to
        # Why there is no connection, or no other one.
        self._reason = "no connection yet"
        self._kind = FailureKind.EXIT_UNAVAILABLE
        self._closed = False

    def start(self) -> None:
        """Opens the first connection."""
        self._update()

    def retire(self) -> None:
        """As `close`, but streams that are open go on: each connection ends with its last one."""
        self._closed = True
        self._reason = "the server has been retired"
        if self._timer is not None:
            self._timer.cancel()
        for session in self._picker.clear():
            session.drain()
        for request in [*self._picker.waiting]:
            request.wake()
        for task in self._dials:
            task.cancel()

    async def close(self) -> None:
        """Ends everything now; requests that wait get ExitUnavailable."""
        self._closed = True
        self._reason, self._kind = "the client is shutting down", FailureKind.STOPPING
        if self._timer is not None:
            self._timer.cancel()
        for session in self._picker.clear():
            session.abort(self._reason)
        for request in [*self._picker.waiting]:
            request.wake()
        for task in self._dials:
            task.cancel()
        await asyncio.gather(*self._dials, return_exceptions=True)

    @property
    def down(self) -> bool:
        """Whether there is no connection and the last dial failed."""
        return self._redial.failing and not self._picker.connected

    @property
    def _hopeless(self) -> bool:
        """Whether nothing is gained by waiting for a connection."""
        return self.down and (self._limits.fail_fast or WORDINGS[self._kind].lasting)

    def _wanted_again(self) -> None:
        """A request was told a reason that lasts. Somebody may be mending it: the next dial comes as if it waited."""
        if not self._limits.fail_fast:
            self._picker.hurry = True
            self._update()

    # For the opener of streams.

    def pick(self, avoid: S | None = None) -> S | None:
        """As `acquire`, but None instead of a wait."""
        session = self._picker.take(avoid)
        if self._picker.scarce:
            self._update()
        return session

    async def acquire(self, avoid: S | None = None) -> S:
        """A connection with a free stream, to be used before the next await; raises ExitUnavailable.

        `avoid` is one that has just refused a stream; it is taken only when there is no other.
        """
        session = self.pick(avoid)
        if session is not None:
            return session
        if self._closed or self._hopeless:
            self._wanted_again()
            raise self._unavailable()
        waiting = len(self._picker.waiting)
        if waiting >= self._limits.waiting:
            text = f"{self._name}: {waiting} requests wait already: {self._reason}"
            raise ExitUnavailable(text, FailureKind.LIMIT)
        self._waiting.inc()
        try:
            async with asyncio.timeout(self._limits.wait):
                return await self._wait(avoid)
        except TimeoutError:
            raise self._unavailable(f"no connection within {self._limits.wait:g} s: ") from None
        finally:
            self._waiting.dec()

    async def _wait(self, avoid: S | None) -> S:
        woken = asyncio.Event()
        request: Request[S] = Request(woken.set, avoid)
        self._picker.waiting.append(request)
        try:
            while True:
                self._update()
                await woken.wait()
                if self._closed or self._hopeless:
                    raise self._unavailable()
                session = self._picker.claim(request)
                if session is not None:
                    return session
                # The connection ended in between: back to the head of the queue.
                woken.clear()
                self._picker.waiting.appendleft(request)
        finally:
            if self._picker.release(request) is not None:
                self._update()

    @property
    def problem(self) -> str:
        """Why there is no connection for new streams; empty when there is one."""
        return "" if self._picker.connected else f"{self._name}: {self._reason}"

    def _unavailable(self, what: str = "") -> ExitUnavailable:
        return ExitUnavailable(f"{self._name}: {what}{self._reason}", self._kind)

    # For the owner of the connections.

    def stream_ended(self) -> None:
        """To be called when a stream has ended: another may be opened."""
        if self._picker.waiting:
            self._update()

    def draining(self, session: S) -> None:
        """To be called when the peer wants to end a connection."""
        log.info("exit %s: the server retires a connection, %d streams go on", self._name, session.active)
        self._picker.going_away(session, self._loop.time())
        self._update()

    def lost(self, session: S, reason: str) -> None:
        """To be called once when a connection is gone."""
        if self._picker.lost(session, self._loop.time()):
            self._reason, self._kind = reason, FailureKind.EXIT_UNAVAILABLE
            log.warning("exit %s: connection lost: %s", self._name, reason)
        self._update()

    # Decisions and dials.

    def _update(self) -> None:
        """Decides and carries out what follows from all that has happened."""
        if self._closed:
            return
        step = self._picker.step(self._loop.time(), len(self._dials))
        # First, for what follows may report something, which ends in a step of its own.
        self._call_again(step.again_at)
        for request in step.granted:
            request.wake()
        for session in step.drain:
            log.debug("exit %s: a connection is retired, %d streams go on", self._name, session.active)
            session.drain()
        for _ in range(step.dials):
            task = self._loop.create_task(self._open(), name=f"dial {self._name}")
            self._dials.add(task)
            task.add_done_callback(self._dialled)

    def _call_again(self, at: float | None) -> None:
        if at == self._again_at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._again_at = at
        self._timer = self._loop.call_at(at, self._timed) if at is not None else None

    def _timed(self) -> None:
        self._again_at = self._timer = None
        self._update()

    def _dialled(self, task: asyncio.Task[None]) -> None:
        self._dials.discard(task)
        self._update()

    async def _open(self) -> None:
        try:
            session = await self._dial()
        except ExitUnavailable as error:
            self._dial_failed(error.failure.text, error.failure.kind)
        except asyncio.CancelledError:
            if self._closed:
                raise
            # A library may cancel the task that it runs in.
            self._dial_failed("the dial was cancelled")
        except Exception as error:
            log.debug("exit %s: unforeseen failure of a dial", self._name, exc_info=True)
            self._dial_failed(" ".join(f"{type(error).__name__}: {error}".split()))
        else:
            self._opened(session)

    def _opened(self, session: S) -> None:
        if self._closed:
            session.abort(self._reason)
        elif session.capacity <= 0:
            session.abort("it takes no streams")
            self._dial_failed("the server takes no streams")
        else:
            self._picker.opened(session, self._loop.time())
            self._update()

    def _dial_failed(self, reason: str, kind: FailureKind = FailureKind.EXIT_UNAVAILABLE) -> None:
        delay = self._redial.failed(self._loop.time())
        # Once in the log, then in the answers to users: an outage of hours must not fill a disk.
        level = logging.WARNING if reason != self._reason else logging.DEBUG
        log.log(level, "exit %s: cannot connect: %s; next attempt in %.1f s", self._name, reason, delay)
        self._reason, self._kind = reason, kind
        if self._hopeless:
            for request in [*self._picker.waiting]:
                request.wake()
        if self.down and self._on_dead is not None:
            self._on_dead()
