"""The connections to one exit: how many, which one next, when to dial again.

1. One connection is kept open, used or not. It is redialled at once when lost, then with back-off.
2. Another is dialled before the ones there are run out of streams, several at a time when many requests wait.
3. A request takes the connection with the fewest streams. Without one it waits, in order, for a limited time.
4. A connection that the server wants to end (GOAWAY) or that is old is not used for new streams; those on it go on. An
   old one stays in use until its successor is there.
5. A connection without streams is closed when others have room, so that a burst leaves nothing behind.
6. While requests wait for an exit that is down, it is redialled every second, whatever the back-off says.
7. The back-off begins anew only with a connection that stayed for a while: a server that takes connections and ends
   them, politely or not, is not dialled in a loop.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from pog.client.exits.backoff import Backoff
from pog.errors import ExitUnavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from prometheus_client import Gauge

log = logging.getLogger(__name__)

# Streams on one connection, even if the peer takes more. The Go original's server announces 250, so nothing in the
# field is used to more; and what one lost packet holds up, or one lost connection ends, stays small.
STREAMS_PER_CONNECTION = 250
# Another connection is dialled when the free streams of all are down to this share of one connection's.
_RESERVE = 0.1
_MAX_DIALS_AT_ONCE = 8
_MAX_CONNECTIONS = 200
_MAX_WAITERS = 1000
# A connection that had no stream at two looks in a row is one too many.
_LOOK_INTERVAL = 30.0
# The time between dials while somebody waits, seconds.
_HURRY = 1.0
# Connections retire at 90 to 100 % of their age, so that those of one burst do not retire together.
_AGE_SPREAD = 0.1


class Session(Protocol):
    """What the pool needs of an HTTP/2 connection."""

    @property
    def active(self) -> int:
        """Streams open now."""

    @property
    def capacity(self) -> int:
        """Streams that the peer lets us open now, beside those that are open."""

    @property
    def draining(self) -> bool:
        """No new streams, those open go on."""

    def drain(self) -> None:
        """Takes no new streams and closes with the last one."""

    def abort(self, reason: str) -> None:
        """Closes now, and every stream with it."""


S = TypeVar("S", bound=Session)


@dataclass(slots=True, eq=False)
class _Member(Generic[S]):
    session: S
    since: float
    timer: asyncio.TimerHandle | None = None
    old: bool = False
    leaving: bool = False
    unused: bool = False

    @property
    def free(self) -> int:
        """Streams that may be opened now."""
        session = self.session
        if session.draining:
            return 0
        return max(0, min(session.capacity, STREAMS_PER_CONNECTION - session.active))


@dataclass(slots=True)
class Limits:
    """Times in seconds; an age of 0 is none."""

    wait: float
    age: float
    backoff: Backoff = field(default_factory=Backoff)
    hurry: float = _HURRY
    waiters: int = _MAX_WAITERS


class Pool(Generic[S]):
    """`dial` opens one connection or raises ExitUnavailable; any other exception counts as a failed dial too.

    What happens to a connection later is to be reported by `stream_ended`, `draining` and `lost`.
    """

    def __init__(self, name: str, dial: Callable[[], Awaitable[S]], limits: Limits, waiting: Gauge) -> None:
        self._loop = asyncio.get_running_loop()
        self._name = name
        self._dial = dial
        self._limits = limits
        self._waiting = waiting
        self._members: list[_Member[S]] = []
        self._dials: set[asyncio.Task[None]] = set()
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._reason = "no connection yet"
        self._streams_per_connection = STREAMS_PER_CONNECTION
        self._last_dial = -limits.hurry
        self._next_dial = 0.0
        self._redial: asyncio.TimerHandle | None = None
        self._look: asyncio.TimerHandle | None = None
        self._closed = False

    # For the exit.

    def start(self) -> None:
        self._look = self._loop.call_later(_LOOK_INTERVAL, self._look_around)
        self._tend()

    def pick(self, avoid: S | None = None) -> S | None:
        """As `acquire`, but None instead of a wait."""
        return None if self._waiters else self._pick(avoid)

    async def acquire(self, avoid: S | None = None) -> S:
        """A connection with a free stream, to be used before the next await; raises ExitUnavailable.

        `avoid` is one that has just refused a stream; it is taken only when there is no other.
        """
        session = self.pick(avoid)
        if session is not None:
            return session
        if len(self._waiters) >= self._limits.waiters:
            raise ExitUnavailable(f"{self._name}: {len(self._waiters)} requests wait already: {self._reason}")
        self._waiting.inc()
        try:
            async with asyncio.timeout(self._limits.wait):
                return await self._wait(avoid)
        except TimeoutError:
            waited = f"no connection within {self._limits.wait:g} s"
            raise ExitUnavailable(f"{self._name}: {waited}: {self._reason}") from None
        finally:
            self._waiting.dec()

    def stream_ended(self) -> None:
        """To be called when a stream has ended: another may be opened."""
        if self._waiters:
            self._wake()

    def draining(self, session: S) -> None:
        """To be called when the peer wants to end a connection."""
        log.info("exit %s: the server retires a connection, %d streams go on", self._name, session.active)
        for member in self._members:
            if member.session is session:
                member.leaving = True
                self._ended(member, polite=True)
        self._tend()

    def lost(self, session: S, reason: str) -> None:
        """To be called once when a connection is gone."""
        member = next((each for each in self._members if each.session is session), None)
        if member is None:
            return
        self._remove(member)
        if not member.leaving:
            self._reason = reason
            log.warning("exit %s: connection lost: %s", self._name, reason)
            self._ended(member, polite=False)
        self._tend()

    def _ended(self, member: _Member[S], *, polite: bool) -> None:
        """Puts the next dial off, unless the connection had stayed for a while. A polite end is forgiven once: servers
        restart."""
        backoff, now = self._limits.backoff, self._loop.time()
        if now - member.since >= backoff.maximum:
            backoff.succeeded()
            return
        forgiven = polite and not backoff.failures
        delay = backoff.failed()
        if not forgiven:
            self._next_dial = now + delay

    @property
    def connected(self) -> bool:
        return any(not member.session.draining for member in self._members)

    async def close(self) -> None:
        """Ends everything now; requests that wait get ExitUnavailable."""
        self._closed = True
        self._reason = "the client is shutting down"
        for timer in (self._redial, self._look):
            if timer is not None:
                timer.cancel()
        for member in [*self._members]:
            self._remove(member)
            member.session.abort(self._reason)
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_exception(ExitUnavailable(f"{self._name}: {self._reason}"))
        for task in self._dials:
            task.cancel()
        await asyncio.gather(*self._dials, return_exceptions=True)

    # Streams.

    def _pick(self, avoid: S | None) -> S | None:
        """The connection for the next stream, and the decision whether another will be needed."""
        best: _Member[S] | None = None
        free = 0
        best_rank = (True, True, 0)
        for member in self._members:
            here = member.free
            if here:
                free += 0 if member.old else here
                rank = (member.session is avoid, member.old, member.session.active)
                if best is None or rank < best_rank:
                    best, best_rank = member, rank
        if free <= self._reserve:
            self._tend()
        if best is None:
            return None
        best.unused = False
        return best.session

    async def _wait(self, avoid: S | None) -> S:
        waiter: asyncio.Future[None] = self._loop.create_future()
        self._waiters.append(waiter)
        try:
            self._tend()
            while True:
                await waiter
                session = self._pick(avoid)
                if session is not None:
                    return session
                # Another took it: back to the head of the queue.
                waiter = self._loop.create_future()
                self._waiters.appendleft(waiter)
        finally:
            if waiter in self._waiters:
                self._waiters.remove(waiter)
            else:
                self._wake()

    def _wake(self) -> None:
        """Lets as many go on as there are free streams."""
        free = sum(member.free for member in self._members)
        while self._waiters and free > 0:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                free -= 1

    # Connections.

    @property
    def _reserve(self) -> int:
        """With no more free streams than this it is time for another connection."""
        return int(self._streams_per_connection * _RESERVE)

    def _tend(self) -> None:
        """Dials as many as are needed now, or sets a timer for when it is time."""
        if self._closed:
            return
        wanted = self._wanted() - len(self._dials)
        if wanted <= 0:
            return
        now = self._loop.time()
        at = self._next_dial
        if self._waiters:
            at = min(at, self._last_dial + self._limits.hurry)
        if now < at:
            if self._redial is not None:
                self._redial.cancel()
            self._redial = self._loop.call_at(at, self._tend)
            return
        self._last_dial = now
        for _ in range(wanted):
            task = self._loop.create_task(self._open(), name=f"dial {self._name}")
            self._dials.add(task)
            task.add_done_callback(self._dialled)

    def _dialled(self, task: asyncio.Task[None]) -> None:
        self._dials.discard(task)
        self._tend()

    def _wanted(self) -> int:
        """How many dials should be under way."""
        fresh = [member for member in self._members if not member.old and not member.session.draining]
        if not fresh:
            return 1
        free = sum(member.free for member in fresh)
        missing = len(self._waiters) + self._reserve + 1 - free
        if missing <= 0:
            return 0
        room = _MAX_CONNECTIONS - len(self._members)
        return min(-int(-missing // self._streams_per_connection), _MAX_DIALS_AT_ONCE, room)

    async def _open(self) -> None:
        try:
            session = await self._dial()
        except ExitUnavailable as error:
            self._dial_failed(str(error))
        except asyncio.CancelledError:
            if self._closed:
                raise
            # A library may cancel the task that it runs in.
            self._dial_failed("the dial was cancelled")
        except Exception as error:
            log.debug("exit %s: a dial failed in a way that nobody foresaw", self._name, exc_info=True)
            self._dial_failed(" ".join(f"{type(error).__name__}: {error}".split()))
        else:
            self._add(session)

    def _dial_failed(self, reason: str) -> None:
        delay = self._limits.backoff.failed()
        self._next_dial = self._loop.time() + delay
        # Once in the log, then in the answers to users: an outage of hours must not fill a disk.
        level = logging.WARNING if reason != self._reason else logging.DEBUG
        log.log(level, "exit %s: cannot connect: %s; next attempt in %.1f s", self._name, reason, delay)
        self._reason = reason

    def _add(self, session: S) -> None:
        if self._closed:
            session.abort(self._reason)
            return
        if session.capacity <= 0:
            session.abort("it takes no streams")
            self._dial_failed("the server takes no streams")
            return
        self._next_dial = 0.0
        member = _Member(session, self._loop.time())
        self._members.append(member)
        self._streams_per_connection = max(1, member.free)
        if self._limits.age > 0:
            age = self._limits.age * (1 - _AGE_SPREAD * random.random())
            member.timer = self._loop.call_later(age, self._retire, member)
        for old in [each for each in self._members if each.old]:
            self._let_go(old)
        self._wake()

    def _retire(self, member: _Member[S]) -> None:
        log.debug("exit %s: a connection is old, %d streams go on", self._name, member.session.active)
        member.old = True
        if any(not each.old and not each.session.draining for each in self._members):
            self._let_go(member)
        self._tend()

    def _let_go(self, member: _Member[S]) -> None:
        """Its streams go on; it is no concern of the pool any more, but for the end."""
        member.old = member.leaving = True
        if not member.session.draining:
            member.session.drain()

    def _remove(self, member: _Member[S]) -> None:
        self._members.remove(member)
        if member.timer is not None:
            member.timer.cancel()

    def _look_around(self) -> None:
        """Lets go of connections that nobody needed for a while, but for the last one."""
        self._look = self._loop.call_later(_LOOK_INTERVAL, self._look_around)
        fresh = [member for member in self._members if not member.old and not member.session.draining]
        for member in fresh[1:]:
            if member.session.active == 0 and member.unused:
                self._let_go(member)
            member.unused = member.session.active == 0
