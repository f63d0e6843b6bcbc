"""Which connection to a server gets the next stream, and how many connections there should be. [pure]

What happens is recorded by plain calls: a request, an opened or lost connection, the peer's wish to end one. `step`
then decides, at once and for a given moment, everything that follows from it, and returns what is to be done.

1. One connection is kept open, used or not.
2. Another is opened before the streams of those there are run out, several at a time when many requests wait.
3. A request gets a stream on the connection with the fewest. Without one it waits, first come, first served.
4. A connection that the server wants to end (GOAWAY, RFC 9113 6.8) or that has reached its age gets no new streams;
   those on it go on. One that is old serves until its successor is there.
5. A connection without streams is retired when others have room, so that a burst leaves nothing behind.
"""

from __future__ import annotations

import math
import random
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from pog.client.exits.redial import Redial

# Streams on one connection, even if the peer allows more. The Go original's server announces 250, so nothing in the
# field is used to more; and what one lost packet delays, or one lost connection ends, stays small.
STREAMS_PER_CONNECTION = 250
# Another connection is opened when the free streams of all are down to this share of one connection's.
_RESERVE = 0.1
_MAX_DIALS_AT_ONCE = 8
_MAX_CONNECTIONS = 200
# A connection that had no stream at two checks in a row is one too many. Seconds.
IDLE_CHECK_INTERVAL = 30.0
# Picker retire at 90 to 100 % of their age, so that those of one burst do not retire together.
_AGE_SPREAD = 0.1


class Session(Protocol):
    """What the pool needs of an HTTP/2 connection."""

    @property
    def active(self) -> int:
        """Streams that are open."""

    @property
    def capacity(self) -> int:
        """Streams that may be opened now, beside those that are open."""

    @property
    def draining(self) -> bool:
        """Whether no stream can be opened any more."""

    def drain(self) -> None:
        """Opens no new streams, and closes with the last one."""

    def abort(self, reason: str) -> None:
        """Closes now, and every stream with it."""


S = TypeVar("S", bound=Session)


@dataclass(slots=True, eq=False)
class PooledConnection(Generic[S]):
    """One open connection. `reserved` streams are promised to requests that have not opened them yet."""

    session: S
    opened_at: float
    retires_at: float
    reserved: int = 0
    old: bool = False
    retired: bool = False  # by us or by the server: its end is no loss
    idle: bool = False  # it had no stream at the last check, and got none since

    @property
    def free(self) -> int:
        """Streams that may be opened now."""
        session = self.session
        if session.draining:
            return 0
        return max(0, min(session.capacity, STREAMS_PER_CONNECTION - session.active) - self.reserved)


@dataclass(slots=True, eq=False)
class Request(Generic[S]):
    """A request for a stream that waits. `avoid` is a connection that refused it; `wake` is called with a grant."""

    wake: Callable[[], None]
    avoid: S | None = None
    granted: PooledConnection[S] | None = None


@dataclass(slots=True)
class Step(Generic[S]):
    """What is to be done: wake these requests, drain these connections, dial this number of times, and call `step`
    again at that time if nothing happens before."""

    granted: list[Request[S]] = field(default_factory=list)
    drain: list[S] = field(default_factory=list)
    dials: int = 0
    again_at: float | None = None


class Picker(Generic[S]):
    """All connections to one server, and the requests that wait for one. Times are those of one monotonic clock, in
    seconds. `age` is how long a connection is used for new streams; 0 is for ever."""

    def __init__(self, redial: Redial, age: float, rng: random.Random | None = None) -> None:
        self.waiting: deque[Request[S]] = deque()
        self.hurry = False  # whether the next dial is to be as early as if requests waited
        self.scarce = False  # whether the last `take` left few free streams
        self._redial = redial
        self._age = age
        self._rng = rng or random.Random()
        self._connections: list[PooledConnection[S]] = []
        self._streams_per_connection = STREAMS_PER_CONNECTION
        self._reserve = 0  # with no more free streams than this it is time for another connection
        self._idle_check_at = 0.0

    # What happens.

    def opened(self, session: S, now: float) -> None:
        """A dial has succeeded."""
        self._redial.opened()
        age = self._age * (1 - _AGE_SPREAD * self._rng.random()) if self._age > 0 else math.inf
        connection = PooledConnection(session, now, now + age)
        self._connections.append(connection)
        self._streams_per_connection = max(1, connection.free)
        self._reserve = int(self._streams_per_connection * _RESERVE)

    def going_away(self, session: S, now: float) -> None:
        """The server wants to end this connection."""
        for connection in self._connections:
            if connection.session is session:
                connection.retired = True
                self._redial.ended(now, lasted=now - connection.opened_at, announced=True)

    def lost(self, session: S, now: float) -> bool:
        """The connection is gone; whether that is a loss, which a retired one is not."""
        for connection in self._connections:
            if connection.session is session:
                self._connections.remove(connection)
                if not connection.retired:
                    self._redial.ended(now, lasted=now - connection.opened_at, announced=False)
                return not connection.retired
        return False

    def clear(self) -> list[S]:
        """Forgets all connections, and gives them to be closed."""
        sessions = [connection.session for connection in self._connections]
        self._connections.clear()
        return sessions

    # Streams.

    def take(self, avoid: S | None = None) -> S | None:
        """The connection on which to open a stream now; None when there is none, or others wait already."""
        if self.waiting:
            return None
        best = self._best(avoid)
        if best is None:
            return None
        best.idle = False
        return best.session

    def claim(self, request: Request[S]) -> S | None:
        """The connection granted to a request, on which to open the stream now; None when it has ended since."""
        connection = self.release(request)
        if connection is None or connection not in self._connections or not connection.free:
            return None
        return connection.session

    def release(self, request: Request[S]) -> PooledConnection[S] | None:
        """The request does not wait any more; what was granted is free for others."""
        connection, request.granted = request.granted, None
        if connection is not None:
            connection.reserved -= 1
        elif request in self.waiting:
            self.waiting.remove(request)
        return connection

    def _best(self, avoid: S | None) -> PooledConnection[S] | None:
        """A pass over all connections: the best one, and whether free streams are scarce."""
        best: PooledConnection[S] | None = None
        best_rank = (True, True, 0)
        total = 0
        for connection in self._connections:
            free = connection.free
            if free:
                total += 0 if connection.old else free
                active = connection.session.active + connection.reserved
                rank = (connection.session is avoid, connection.old, active)
                if best is None or rank < best_rank:
                    best, best_rank = connection, rank
        self.scarce = total <= self._reserve
        return best

    # Decisions.

    def step(self, now: float, dialling: int) -> Step[S]:
        """Decides what is to be done now, and records it as done. `dialling`: dials that are under way."""
        step: Step[S] = Step()
        self._retire(now, step)
        self._grant(step)
        wanted = self._wanted() - dialling
        dial_at = self._redial.due(urgent=self.hurry or bool(self.waiting))
        if wanted > 0 and now >= dial_at:
            self._redial.began(now)
            self.hurry = False
            step.dials = wanted
        times = [connection.retires_at for connection in self._connections if not connection.old]
        if len(self._connections) > 1:
            times.append(self._idle_check_at)
        if wanted > 0 and not step.dials:
            times.append(dial_at)
        step.again_at = min((time for time in times if time < math.inf), default=None)
        return step

    @property
    def connected(self) -> bool:
        """Whether a connection takes new streams, if not right now: it may be full."""
        return any(not each.session.draining for each in self._connections)

    @property
    def _fresh(self) -> list[PooledConnection[S]]:
        """Those that new streams should go to."""
        return [each for each in self._connections if not each.old and not each.session.draining]

    def _retire(self, now: float, step: Step[S]) -> None:
        for connection in self._connections:
            connection.old = connection.old or now >= connection.retires_at
        fresh = self._fresh
        if now >= self._idle_check_at:
            self._idle_check_at = now + IDLE_CHECK_INTERVAL
            for connection in fresh:
                unused = connection.session.active + connection.reserved == 0
                connection.old = connection.idle and unused and connection is not fresh[0]
                connection.idle = unused
        if fresh:
            for connection in self._connections:
                if connection.old and not connection.retired:
                    connection.retired = True
                    step.drain.append(connection.session)

    def _grant(self, step: Step[S]) -> None:
        while self.waiting and (best := self._best(self.waiting[0].avoid)) is not None:
            request = self.waiting.popleft()
            request.granted = best
            best.reserved += 1
            best.idle = False
            step.granted.append(request)

    def _wanted(self) -> int:
        """How many dials should be under way."""
        fresh = self._fresh
        if not fresh:
            return 1
        missing = len(self.waiting) + self._reserve + 1 - sum(connection.free for connection in fresh)
        if missing <= 0:
            return 0
        room = _MAX_CONNECTIONS - len(self._connections)
        at_once = 1 if self._redial.failing else _MAX_DIALS_AT_ONCE
        return min(-int(-missing // self._streams_per_connection), at_once, room)
