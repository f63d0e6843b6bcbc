"""Plain HTTP on one user's connection: one exchange at a time, each through a tunnel to its destination.

An exchange is in one of these states; in each of them the user may leave, which ends everything.

state      what it waits for                              next
OPENING    credentials and a tunnel; what the user        UNDER_WAY, or the failure is the answer
           sends meanwhile is kept, up to a bound
UNDER_WAY  the rest of the request and of the answer      complete: the tunnel is kept for the next request, or it
                                                          becomes the user's own (Upgrade)
                                                          failed: the failure is the answer, or the user is reset
                                                          once an answer has begun
                                                          OPENING again: a tunnel that had been kept closed under a
                                                          request that may be repeated

Back pressure: a user who takes no more stops the tunnel, a full tunnel stops the user. What the user sends behind its
request is read up to a bound, so that its leaving is noticed.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Protocol

from pog.client.kept import KeptTunnels
from pog.client.opening import STOPPING, USER_LEFT, Opening, Shared
from pog.client.upstream import Upstream
from pog.errors import WORDINGS, Failure, FailureKind, Refused
from pog.process.timers import Timer, after
from pog.tunnel.ended import Ended, Reason
from pog.tunnel.live import TunnelRecord

if TYPE_CHECKING:
    import asyncio

    from pog.front.base import Exchange, TunnelWanted
    from pog.tunnel.request import Tunnel, User

# What is read of a user before its tunnel is open, or behind the end of its request.
_MOST_WAITING = 64 * 1024


class Connection(Protocol):
    """The user's connection, which is told how each exchange went."""

    def exchange_answered(self) -> None:
        """The user has its answer."""

    def exchange_failed(self, failure: Failure) -> None:
        """There is no answer, and nothing of one has been sent."""

    def exchange_broken(self) -> None:
        """The answer that the user has begun to get will never be complete."""

    def exchange_switched(self, upstream: Upstream, early: bytes) -> None:
        """The tunnel is to be handed over to the user, who has sent `early` already."""

    def tunnels_ended(self) -> None:
        """No tunnel is open for now."""


class Exchanges:
    """The exchange under way, and the tunnels that are kept for the next ones."""

    __slots__ = (
        "_connection",
        "_early",
        "_exchange",
        "_front",
        "_kept",
        "_opening",
        "_reading",
        "_remote",
        "_reused",
        "_shared",
        "_transport",
        "_tunnels",
        "_upstream",
        "_user",
        "_user_full",
        "_user_ended",
        "_wanted",
        "_watch",
    )

    _exchange: Exchange
    _wanted: TunnelWanted
    _front: str

    def __init__(self, shared: Shared, connection: Connection, transport: asyncio.Transport, remote: str) -> None:
        self._shared = shared
        self._connection = connection
        self._transport = transport
        self._remote = remote
        self._kept = KeptTunnels()
        # All tunnels that have not ended.
        self._tunnels: set[Upstream] = set()
        self._user_full = False
        # The exchange under way.
        self._opening: Opening | None = None
        self._upstream: Upstream | None = None
        self._user: User | None = None
        self._reused = False
        self._early = b""
        self._user_ended = False
        self._reading = True
        self._watch: Timer | None = None

    # For the user's connection

    def begin(self, wanted: TunnelWanted, user: User | None, front: str) -> None:
        """`user` where it is known already, `front` by its name. What becomes of it is told to the connection, perhaps
        within this call."""
        assert wanted.exchange is not None
        self._front = front
        self._wanted, self._exchange = wanted, wanted.exchange
        self._read()
        user = user or self._shared.authenticator.check_nowait(wanted.authorization)
        if user is not None:
            kept = self._kept.take(wanted.destination, user, repeatable=wanted.exchange.may_repeat)
            if kept is not None:
                self._reused = True
                self._go(kept)
                return
        self._open(user)

    def user_data(self, data: bytes) -> None:
        if self._upstream is None:
            self._early += data
            self._read()
        else:
            self._send(data)

    def user_eof(self) -> bool:
        """Whether the user, who sends no more, still waits for an answer: one that has sent its request does."""
        self._user_ended = True
        if not self._early and not self._exchange.request_complete:
            self.give_up(USER_LEFT)
            return False
        self._look(None)
        return True

    def user_full(self, full: bool) -> None:
        """The user takes no more for now, or does so again."""
        self._user_full = full
        if self._upstream is not None:
            self._upstream.hold(full)

    def give_up(self, why: Failure) -> None:
        """Nobody waits for anything any more: all tunnels end. May be called at any time, and more than once."""
        opening, upstream = self._opening, self._upstream
        self._over()
        if opening is not None:
            opening.cancel(why)
        if upstream is not None:
            upstream.give_up(why.text)
        self._kept.close_all()

    @property
    def answer_begun(self) -> bool:
        """Whether the user has got a part of an answer, and waits for the rest."""
        return self._upstream is not None and self._exchange.answer_begun

    @property
    def tunnels(self) -> int:
        """How many have not ended."""
        return len(self._tunnels)

    # The tunnel

    def _open(self, user: User | None) -> None:
        self._reused = False
        record = TunnelRecord(self._remote, self._front, self._wanted.destination)
        self._opening = Opening(self._shared, record, self._opened)
        self._opening.begin(user, self._wanted)

    def _opened(self, record: TunnelRecord, result: Tunnel | Failure) -> None:
        self._opening = None
        if isinstance(result, Failure):
            if self._early:
                # The rest of the request, and the next ones, which wait with the front.
                with contextlib.suppress(Refused):
                    self._exchange.user_data(self._early)
            self._over()
            self._connection.exchange_failed(result)
        else:
            upstream = Upstream(self._shared, self, record, result)
            self._tunnels.add(upstream)
            self._go(upstream)
            upstream.deliver()

    def _go(self, upstream: Upstream) -> None:
        self._upstream, self._user = upstream, upstream.record.user
        upstream.hold(self._user_full)
        upstream.send(self._exchange.start())
        early, self._early = self._early, b""
        if early:
            self._send(early)
        if self._user_ended and self._upstream is upstream and not self._exchange.request_complete:
            self.give_up(USER_LEFT)
            self._connection.exchange_broken()
        self._read()

    def _send(self, data: bytes) -> None:
        exchange, upstream = self._exchange, self._upstream
        assert upstream is not None
        try:
            up = exchange.user_data(data)
        except Refused as refused:
            self._fail(refused.failure)
            return
        if up:
            upstream.send(up)
        if exchange.waiting:
            self._read()
        if exchange.complete and self._upstream is upstream:
            self._complete()

    # For the tunnel

    def tunnel_data(self, upstream: Upstream, data: bytes | memoryview) -> None:
        if upstream is not self._upstream:
            self._kept.close(upstream)
            return
        exchange = self._exchange
        try:
            down = exchange.tunnel_data(data)
        except Refused as refused:
            self._fail(refused.failure)
            return
        if down:
            self._transport.write(down)
        if exchange.complete:
            self._complete()

    def tunnel_eof(self, upstream: Upstream) -> None:
        if upstream is not self._upstream:
            self._kept.close(upstream)
            return
        try:
            down = self._exchange.tunnel_eof()
        except Refused as refused:
            self._cut(refused.failure)
            return
        if down:
            self._transport.write(down)
        self._complete()

    def tunnel_full(self, upstream: Upstream) -> None:
        if upstream is self._upstream:
            self._read()

    def tunnel_ended(self, upstream: Upstream, how: Ended) -> None:
        self._tunnels.discard(upstream)
        if upstream is self._upstream:
            self._cut(self._failure(how))
        else:
            self._kept.close(upstream)
        if not self._tunnels:
            self._connection.tunnels_ended()

    def unsent(self, upstream: Upstream) -> int:
        return self._transport.get_write_buffer_size() if upstream is self._upstream else 0

    def limit_unsent(self, high: int | None) -> None:
        if not self._transport.is_closing():
            self._transport.set_write_buffer_limits(high)

    # The end of the exchange

    def _complete(self) -> None:
        exchange, upstream = self._exchange, self._upstream
        assert upstream is not None
        self._over()
        if exchange.passes_through:
            self._tunnels.discard(upstream)
            self._kept.close_all()
            early = exchange.user_data(b"")
            self._read()
            self._connection.exchange_switched(upstream, early)
            return
        if exchange.tunnel_reusable and not upstream.is_closing():
            upstream.hold(False)
            self._kept.keep(upstream)
        else:
            upstream.finish()
        self._connection.exchange_answered()

    def _cut(self, failure: Failure) -> None:
        """The tunnel has ended before the exchange."""
        upstream = self._upstream
        assert upstream is not None
        self._upstream = None
        upstream.finish()
        if self._reused and self._exchange.may_repeat:
            self._open(self._user)
        else:
            self._fail(failure)

    def _fail(self, failure: Failure) -> None:
        upstream = self._upstream
        begun = self._exchange.answer_begun
        self._over()
        if upstream is not None:
            upstream.give_up(failure.text)
        if begun:
            self._connection.exchange_broken()
            return
        record = TunnelRecord(self._remote, self._front, self._wanted.destination, self._user)
        self._shared.observer.requested(record)
        self._shared.observer.refused(record, failure)
        self._connection.exchange_failed(failure)

    def _over(self) -> None:
        self._opening = self._upstream = None
        self._early = b""
        self._read()
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None

    def _failure(self, how: Ended) -> Failure:
        kind = FailureKind.NO_ANSWER if how.reason is Reason.RESET else FailureKind.TIMEOUT
        if how.reason is Reason.STOPPED:
            return STOPPING
        text = f"{self._wanted.destination} {WORDINGS[kind].summary}"
        return Failure(kind, f"{text}: {how.error}" if how.error is not None else text)

    # Limits

    def _read(self) -> None:
        """Reads the user, or does not: what is read has to go somewhere."""
        full = self._upstream is not None and self._upstream.full
        reading = not full and len(self._early) + self._exchange.waiting < _MOST_WAITING
        if reading is not self._reading and not self._transport.is_closing():
            self._reading = reading
            (self._transport.resume_reading if reading else self._transport.pause_reading)()

    def _look(self, seen: tuple[int, int] | None) -> None:
        """A user who sends no more may have left: without a sign of life its request is given up."""
        limit = self._shared.settings.half_close_timeout
        received = self._upstream.received if self._upstream is not None else 0
        progress = received, self._transport.get_write_buffer_size()
        if progress == seen:
            self.give_up(USER_LEFT)
            self._connection.exchange_broken()
        elif limit > 0:
            self._watch = after(limit, lambda: self._look(progress))
