"""One connection of a user's program, from its first byte until the relay takes over: a shell around a front.

state       what it waits for                                   next
REQUEST     the bytes that tell the front, and the rest of a    BUSY, EXCHANGE, PAGE, LINGERING, CLOSED
            request; a timer runs
BUSY        credentials or a tunnel; what the user sends        RELAYED, LINGERING, REQUEST (credentials passed),
            meanwhile is kept, up to a bound, or goes     CLOSED (the user left; fast open failed)
            with the request (fast open)
EXCHANGE    the end of a plain HTTP exchange (exchanges)        REQUEST, RELAYED (Upgrade), LINGERING, CLOSED
RELAYED     the end of the relay; the transport has another     CLOSED
            protocol
PAGE        the end of the answer (page_answer); the            CLOSED
            transport has another protocol
LINGERING   the user's close; the answer is on its way, what    CLOSED
            still arrives is dropped, a timer runs
CLOSED      nothing
"""

from __future__ import annotations

import asyncio
import enum
import logging
from functools import partial
from typing import TYPE_CHECKING, Protocol, assert_never, cast

from pog.client import opening
from pog.client.exchanges import Exchanges
from pog.client.opening import STOPPING, USER_LEFT, Opening, internal, joined, parted
from pog.client.page_answer import LINGER, NO_PROGRESS_TIMEOUT, PageAnswer
from pog.errors import Failure, FailureKind, Refused
from pog.front.base import NEED_MORE, FrontOptions, NeedMore, PageRequest, Reply, TunnelWanted
from pog.front.base import Credentials as PresentedCredentials
from pog.front.sniff import sniff
from pog.net.address import peer_text
from pog.process.timers import Timer, after
from pog.tunnel.ended import Ended, Reason, Side
from pog.tunnel.live import TunnelRecord
from pog.tunnel.relay import Relay, reset
from pog.tunnel.request import EagerAttempt

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from pog.client.page_answer import Pages
    from pog.client.upstream import Upstream
    from pog.front.base import Front, Outcome
    from pog.net.address import Destination
    from pog.tunnel.request import Attempt, Tunnel, User

log = logging.getLogger(__name__)

# What a user may send behind its request before it is answered: a TLS hello is 0.5 to 2 KiB; what a socket's buffer
# holds besides stays there.
_MAX_EARLY_BYTES = 64 * 1024
# How long the next request may take to begin, as in nginx (keepalive_timeout). Seconds.
_KEEP_ALIVE = 75.0


class Shared(opening.Shared, Protocol):
    """What all connections have in common, and their count."""

    pages: Pages
    # The client is about to end: nothing new is begun.
    draining: bool

    def entered(self, connection: UserConnection) -> None:
        """It has begun."""

    def left(self, connection: UserConnection) -> None:
        """It has ended."""


class State(enum.Enum):
    """See the module's docstring."""

    REQUEST = "request"
    BUSY = "busy"
    EXCHANGE = "exchange"
    RELAYED = "relayed"
    PAGE = "page"
    LINGERING = "lingering"
    CLOSED = "closed"


class UserConnection(asyncio.Protocol):
    """Serves one connection; `shared` is what all of them have in common."""

    __slots__ = (
        "_advancing",
        "_eager",
        "_early",
        "_early_bytes",
        "_exchanges",
        "_fast",
        "_first",
        "_front",
        "_full",
        "_gone",
        "_half_closed",
        "_opening",
        "_page",
        "_record",
        "_relay",
        "_shared",
        "_state",
        "_task",
        "_timer",
        "_transport",
        "_tunnel",
        "_user",
    )

    _transport: asyncio.Transport
    _front: Front
    # Once relayed.
    _relay: Relay
    _record: TunnelRecord
    _tunnel: Tunnel

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._state = State.REQUEST
        # What has arrived, until that tells which front it is for.
        self._first: bytes | None = b""
        self._timer: Timer | None = None
        # Who the user is, when that was asked before its request.
        self._user: User | None = None
        self._task: asyncio.Task[None] | None = None
        self._opening: Opening | None = None
        self._exchanges: Exchanges | None = None
        self._early: list[bytes] = []
        self._early_bytes = 0
        self._half_closed = self._full = self._advancing = self._gone = False
        # The user has been told already that the tunnel is open.
        self._fast = False
        # Takes what the user sends meanwhile; not every exit can.
        self._eager: EagerAttempt | None = None

    # Called by the event loop, until the relay takes over.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods of asyncio.Transport, but not its name.
        self._transport = cast("asyncio.Transport", transport)
        self._shared.entered(self)
        self._timer = after(self._shared.settings.head_timeout, self._request_is_late)

    def data_received(self, data: bytes) -> None:
        if self._state is State.EXCHANGE:
            assert self._exchanges is not None
            self._exchanges.user_data(data)
        elif self._state is State.REQUEST:
            self._received(data)
        elif self._state is State.BUSY:
            self._keep(data)

    def eof_received(self) -> bool:
        """Who waits for an answer, or has sent something for the tunnel, may be done with sending only; others left."""
        if self._state is State.EXCHANGE:
            assert self._exchanges is not None
            self._half_closed = self._exchanges.user_eof()
        elif self._state is State.BUSY:
            self._half_closed = self._opening is None or self._early_bytes > 0
            if not self._half_closed:
                self._give_up()
        # TLS has no half-close in asyncio: it closes, and warns about a True.
        return self._half_closed and self._transport.can_write_eof()

    def pause_writing(self) -> None:
        self._full = True
        if self._exchanges is not None:
            self._exchanges.user_full(True)

    def resume_writing(self) -> None:
        self._full = False
        if self._state is State.LINGERING:
            self._stop_timer()
            self._linger()
        elif self._exchanges is not None:
            self._exchanges.user_full(False)
            self._advance()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        self._give_up()
        self._ended_for_user()

    # The request

    def _received(self, data: bytes) -> None:
        if self._first is not None:
            data = self._first + data
            make = sniff(data)
            if isinstance(make, NeedMore):
                self._first = data
                return
            self._first = None
            wanted = not self._shared.authenticator.is_open
            self._front = make(FrontOptions(credentials_wanted=wanted, via=self._shared.settings.via_header))
        begun = self._exchanges is None or self._front.begun
        outcome = self._front.receive_data(data)
        if outcome is not NEED_MORE:
            self._handle(outcome)
        elif not begun and self._front.begun:
            # The first request may take so long from the beginning of the connection, others from their own.
            self._wait(self._shared.settings.head_timeout)

    def _handle(self, outcome: Outcome) -> None:
        while isinstance(outcome, Reply):
            self._transport.write(outcome.data)
            outcome = self._front.receive_data(b"")
        if isinstance(outcome, NeedMore):
            return
        self._stop_timer()
        if isinstance(outcome, TunnelWanted):
            if outcome.exchange is not None:
                self._exchange(outcome)
            else:
                self._connect(outcome)
        elif isinstance(outcome, PageRequest):
            self._show(outcome)
        elif isinstance(outcome, PresentedCredentials):
            self._state = State.BUSY
            self._start(self._login(outcome.authorization), "authenticate")
        elif isinstance(outcome, Failure):
            self._refuse_request(outcome)
        else:
            assert_never(outcome)

    def _wait(self, seconds: float) -> None:
        self._stop_timer()
        self._timer = after(seconds, self._request_is_late)

    def _request_is_late(self) -> None:
        # Browsers open connections in advance; to say 408 on one that was never used shows as an error there.
        if self._first is None and self._front.begun:
            text = f"no complete request within {self._shared.settings.head_timeout:g} s"
            self._refuse_request(Failure(FailureKind.REQUEST_TIMEOUT, text))
        else:
            self._transport.close()

    def _start(self, work: Coroutine[None, None, None], name: str) -> None:
        self._task = self._shared.loop.create_task(work, name=name)

    def _keep(self, data: bytes) -> None:
        if data:
            if self._eager is not None:
                self._eager.write(data)
            else:
                self._early.append(data)
            self._early_bytes += len(data)
            if self._early_bytes >= _MAX_EARLY_BYTES:
                self._transport.pause_reading()

    async def _login(self, authorization: str) -> None:
        """Checks credentials that come before the request."""
        try:
            self._user = await self._shared.authenticator.check(authorization, self._remote())
        except Exception as error:
            self._task = None
            self._log_refusal(error.failure if isinstance(error, Refused) else internal(error))
            self._answer(self._front.authenticated(False))
            return
        self._task = None
        self._state = State.REQUEST
        self._transport.write(self._front.authenticated(True))
        self._wait(self._shared.settings.head_timeout)
        kept, self._early, self._early_bytes = b"".join(self._early), [], 0
        self._transport.resume_reading()
        self._handle(self._front.receive_data(kept))

    def _give_up(self, why: Failure = USER_LEFT) -> None:
        """Nobody wants the answer any more."""
        self._end_exchanges(why)
        if self._state is not State.BUSY:
            return
        self._state = State.CLOSED
        if self._task is not None:
            self._task.cancel()
        if self._opening is not None:
            self._opening.cancel(why)

    # A tunnel of the user's own

    def _connect(self, wanted: TunnelWanted) -> None:
        self._state = State.BUSY
        self._end_exchanges()
        self._keep(wanted.early)
        record = TunnelRecord(self._remote(), self._front.name, wanted.destination)
        fast = self._open_fast if self._shared.settings.fast_open else None
        self._opening = Opening(self._shared, record, self._opened, fast)
        self._opening.begin(self._user, wanted)

    def _open_fast(self, attempt: Attempt) -> None:
        """One round trip less: the user's first bytes go with the request. It cannot be told any more that there is no
        tunnel, so a failure resets its connection."""
        self._fast = True
        self._transport.write(self._front.granted())
        if isinstance(attempt, EagerAttempt):
            self._eager = attempt
            for data in self._early:
                attempt.write(data)
            self._early.clear()

    def _opened(self, record: TunnelRecord, result: Tunnel | Failure) -> None:
        self._opening = None
        if isinstance(result, Failure):
            if self._fast:
                self._state = State.LINGERING
                reset(self._transport)
            else:
                self._refuse(result)
        elif self._transport.is_closing():
            result.transport.abort()
            result.on_end(Ended(Reason.CANCELLED, Side.LOCAL, None, 0, 0))
            self._shared.observer.refused(record, USER_LEFT)
        else:
            self._established(record, result)

    def _established(self, record: TunnelRecord, tunnel: Tunnel) -> None:
        """Nothing of the user can get lost between the answer and the relay: both happen in one step."""
        self._record, self._tunnel = record, tunnel
        self._relay = joined(self._shared, record, tunnel, self._transport, self._ended)
        self._state = State.RELAYED
        if not self._fast:
            self._transport.write(self._front.granted(tunnel))
        early, self._early = self._early, []
        sent = self._early_bytes if self._eager is not None else 0
        self._relay.start(b"".join(early), sent=sent, ended=self._half_closed)

    def _ended(self, how: Ended) -> None:
        parted(self._shared, self._record, self._tunnel, how)
        self._ended_for_user()

    def _relay_ended(self, how: Ended) -> None:
        self._ended_for_user()

    # Plain HTTP

    def _exchange(self, wanted: TunnelWanted) -> None:
        if self._exchanges is None:
            self._exchanges = Exchanges(self._shared, self, self._transport, self._remote())
            self._exchanges.user_full(self._full)
        self._state = State.EXCHANGE
        self._exchanges.begin(wanted, self._user, self._front.name)

    def exchange_answered(self) -> None:
        if self._front.reusable and not self._shared.draining:
            self._state = State.REQUEST
            self._advance()
        else:
            self._answer(b"")

    def exchange_failed(self, failure: Failure) -> None:
        if not self._front.reusable:
            self._refuse(failure)
            return
        self._transport.write(self._front.refused(failure))
        self.exchange_answered()

    def exchange_broken(self) -> None:
        self._state = State.LINGERING
        reset(self._transport)

    def exchange_switched(self, upstream: Upstream, early: bytes) -> None:
        self._state = State.RELAYED
        self._relay = upstream.hand_over(self._transport, self._relay_ended, early=early, ended=self._half_closed)

    def tunnels_ended(self) -> None:
        if self._gone:
            self._shared.left(self)

    def _end_exchanges(self, why: Failure = USER_LEFT) -> None:
        if self._exchanges is not None:
            self._exchanges.give_up(why)

    def _advance(self) -> None:
        """On to the next request, which may have arrived already. A loop: each may be answered within this call."""
        if self._advancing:
            return
        self._advancing = True
        while self._state is State.REQUEST and not self._full:
            outcome = self._front.receive_data(b"")
            if outcome is not NEED_MORE:
                self._handle(outcome)
                continue
            if self._half_closed:
                self._transport.close()
            self._wait(self._shared.settings.head_timeout if self._front.begun else _KEEP_ALIVE)
            break
        self._advancing = False

    # Answers

    def _show(self, request: PageRequest) -> None:
        self._state = State.PAGE
        self._end_exchanges()
        self._page = PageAnswer(self._transport, self._shared.pages, request, self._ended_for_user)
        self._page.start()

    def _refuse_request(self, failure: Failure) -> None:
        """What was sent leads to no tunnel, whatever an exit would say."""
        self._log_refusal(failure)
        self._refuse(failure)

    def _log_refusal(self, failure: Failure, destination: Destination | None = None) -> None:
        record = TunnelRecord(self._remote(), self._front.name, destination)
        self._shared.observer.requested(record)
        self._shared.observer.refused(record, failure)

    def _refuse(self, failure: Failure) -> None:
        self._answer(self._front.refused(failure))

    def _answer(self, data: bytes) -> None:
        self._state = State.LINGERING
        self._early.clear()
        self._end_exchanges()
        if self._transport.is_closing():
            return
        self._transport.write(data)
        self._transport.resume_reading()
        if self._transport.can_write_eof():
            self._transport.write_eof()
        else:  # TLS reads on, until the user says its end
            self._transport.close()
        self._transport.set_write_buffer_limits(high=0)
        self._linger()

    def _linger(self, unsent: int = 0) -> None:
        """The time for what still arrives begins when all of the answer is with the system. Until then the user has to
        take some of it now and then; `unsent` is what was left of it the last time."""
        left = self._transport.get_write_buffer_size()
        if not left:
            self._timer = after(LINGER, self._transport.abort)
        elif left == unsent:
            self._transport.abort()
        else:
            self._timer = after(NO_PROGRESS_TIMEOUT, partial(self._linger, left))

    # The end

    def _ended_for_user(self) -> None:
        """Its connection is gone; a tunnel of an exchange may still be sending a rest."""
        self._state = State.CLOSED
        self._gone = True
        if self._exchanges is None or not self._exchanges.tunnels:
            self._shared.left(self)

    def close(self) -> None:
        """Ends the connection in whatever state it is. What has begun is reset, so that it does not look complete."""
        if self._state is State.RELAYED:
            self._relay.stop()
        elif self._state is State.PAGE:
            self._page.close()
        elif self._transport.is_closing():
            self._transport.abort()
        else:
            begun = self._fast or (self._exchanges is not None and self._exchanges.answer_begun)
            waits = self._opening is not None or self._state is State.EXCHANGE
            self._give_up(STOPPING)
            if begun:
                reset(self._transport)
                return
            if waits:
                self._transport.write(self._front.refused(STOPPING))
            self._transport.close()

    @property
    def is_idle(self) -> bool:
        """Whether no request is being served: nothing is lost when it is closed."""
        if self._state is State.PAGE:
            return self._page.is_idle
        return self._state not in (State.BUSY, State.EXCHANGE, State.RELAYED)

    def _remote(self) -> str:
        """The address now: uvloop knows it no more once the user is gone."""
        return peer_text(self._transport.get_extra_info("peername"))

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
