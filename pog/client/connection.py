"""One connection of a user's program, from its first byte until the relay takes over: a shell around a front.

state       what it waits for                                   next
REQUEST     the bytes that tell the front, and the rest of a    BUSY, LINGERING, CLOSED
            request; a timer runs
BUSY        credentials, a tunnel or a page; what the user      RELAYED, LINGERING, REQUEST (credentials passed),
            sends meanwhile is kept, up to a bound, or goes     CLOSED (the user left; fast open failed)
            with the request (fast open)
RELAYED     the end of the relay; the transport has another     CLOSED
            protocol
LINGERING   the user's close; an answer was sent, what still    CLOSED
            arrives is dropped, a timer runs
CLOSED      nothing
"""

from __future__ import annotations

import asyncio
import enum
import logging
from typing import TYPE_CHECKING, Protocol, assert_never, cast

from pog.errors import Failure, FailureKind, Refused
from pog.front.base import NEED_MORE, FrontOptions, NeedMore, PageRequest, Reply, TunnelWanted
from pog.front.base import Credentials as PresentedCredentials
from pog.front.sniff import sniff
from pog.net.address import peer_text
from pog.process.timers import Timer, after
from pog.tunnel.ended import Ended, Reason
from pog.tunnel.live import TunnelRecord
from pog.tunnel.relay import Relay, reset
from pog.tunnel.request import ANONYMOUS, EagerAttempt, Tunnel, TunnelRequest, User

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from pog.auth.check import Authenticator
    from pog.config.settings import ClientSettings
    from pog.front.base import Front, Outcome
    from pog.net.address import Destination
    from pog.observe.tunnels import TunnelObserver
    from pog.tunnel.request import Attempt, Exit

log = logging.getLogger(__name__)

# What a user may send behind its request before it is answered: a TLS hello is 0.5 to 2 KiB; what a socket's buffer
# holds besides stays there.
_MAX_EARLY_BYTES = 64 * 1024
# An answer followed by a close with unread bytes would be lost to a TCP reset; nginx lingers 5 s. Seconds.
_LINGER = 2.0


class Pages(Protocol):
    """What the client's own port shows."""

    async def answer(self, request: PageRequest) -> bytes:
        """A whole HTTP/1.1 answer."""


class Shared(Protocol):
    """What all connections have in common, and their count."""

    loop: asyncio.AbstractEventLoop
    settings: ClientSettings
    exit: Exit
    pages: Pages
    authenticator: Authenticator
    observer: TunnelObserver

    def entered(self, connection: UserConnection) -> None:
        """It has begun."""

    def left(self, connection: UserConnection) -> None:
        """It has ended."""

    def check_room(self) -> None:
        """Raises Refused when no other tunnel may be opened now."""


class State(enum.Enum):
    """See the module's docstring."""

    REQUEST = "request"
    BUSY = "busy"
    RELAYED = "relayed"
    LINGERING = "lingering"
    CLOSED = "closed"


class UserConnection(asyncio.Protocol):
    """Serves one connection; `shared` is what all of them have in common."""

    __slots__ = (
        "_attempt",
        "_eager",
        "_early",
        "_early_bytes",
        "_fast",
        "_first",
        "_front",
        "_half_closed",
        "_record",
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
    _tunnel: Tunnel

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._state = State.REQUEST
        # What has arrived, until that tells which front it is for.
        self._first: bytes | None = b""
        self._timer: Timer | None = None
        # Who the user is, when that was asked before its request.
        self._user: User | None = None
        self._record: TunnelRecord | None = None
        self._task: asyncio.Task[None] | None = None
        self._attempt: Attempt | None = None
        self._early: list[bytes] = []
        self._early_bytes = 0
        self._half_closed = False
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
        if self._state is State.REQUEST:
            self._handle(self._receive(data))
        elif self._state is State.BUSY:
            self._keep(data)

    def eof_received(self) -> bool:
        """Who asked for a page, or has sent something for the tunnel, may be done with sending only; others left."""
        if self._state is not State.BUSY:
            return False
        self._half_closed = self._record is None or self._early_bytes > 0
        if not self._half_closed:
            self._give_up()
        return self._half_closed

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        self._give_up()
        self._state = State.CLOSED
        self._shared.left(self)

    # The request

    def _receive(self, data: bytes) -> Outcome:
        if self._first is not None:
            data = self._first + data
            make = sniff(data)
            if isinstance(make, NeedMore):
                self._first = data
                return NEED_MORE
            self._first = None
            self._front = make(FrontOptions(credentials_wanted=not self._shared.authenticator.is_open))
        return self._front.receive_data(data)

    def _handle(self, outcome: Outcome) -> None:
        while isinstance(outcome, Reply):
            self._transport.write(outcome.data)
            outcome = self._front.receive_data(b"")
        if isinstance(outcome, NeedMore):
            return
        self._stop_timer()
        if isinstance(outcome, TunnelWanted):
            self._state = State.BUSY
            self._keep(outcome.early)
            self._request_tunnel(outcome)
        elif isinstance(outcome, PageRequest):
            self._state = State.BUSY
            self._start(self._page(outcome), "page")
        elif isinstance(outcome, PresentedCredentials):
            self._state = State.BUSY
            self._start(self._login(outcome.authorization), "authenticate")
        elif isinstance(outcome, Failure):
            self._refuse_request(outcome)
        else:
            assert_never(outcome)

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

    # The handshake: no task, unless credentials have to be checked or no connection has room.

    def _request_tunnel(self, wanted: TunnelWanted) -> None:
        shared = self._shared
        record = self._new_record(wanted.destination)
        user = self._user or shared.authenticator.check_nowait(wanted.authorization)
        if user is ANONYMOUS and wanted.user_id:
            user = User(wanted.user_id)
        if user is not None:
            self._open(record, user)
        else:
            self._start(self._authenticate(record, wanted.authorization), "authenticate")

    def _new_record(self, destination: Destination | None = None) -> TunnelRecord:
        # The address now: uvloop knows it no more once the user is gone.
        remote = peer_text(self._transport.get_extra_info("peername"))
        self._record = TunnelRecord(remote, self._front.name, destination)
        self._shared.observer.requested(self._record)
        return self._record

    async def _authenticate(self, record: TunnelRecord, authorization: str | None) -> None:
        try:
            user = await self._shared.authenticator.check(authorization)
        except Exception as error:
            self._task = None
            self._opened(error.failure if isinstance(error, Refused) else _bug(error))
        else:
            self._task = None
            self._open(record, user)

    async def _login(self, authorization: str) -> None:
        """Checks credentials that come before the request."""
        try:
            self._user = await self._shared.authenticator.check(authorization)
        except Exception as error:
            self._task = None
            failure = error.failure if isinstance(error, Refused) else _bug(error)
            self._shared.observer.refused(self._new_record(), failure)
            self._answer(self._front.authenticated(False))
            return
        self._task = None
        self._state = State.REQUEST
        self._transport.write(self._front.authenticated(True))
        self._timer = after(self._shared.settings.head_timeout, self._request_is_late)
        kept, self._early, self._early_bytes = b"".join(self._early), [], 0
        self._transport.resume_reading()
        self._handle(self._front.receive_data(kept))

    def _open(self, record: TunnelRecord, user: User) -> None:
        record.user = user
        assert record.destination is not None
        request = TunnelRequest(record.destination, user, record.front, record.remote)
        try:
            self._shared.check_room()
            attempt = self._shared.exit.open(request, self._opened)
        except Refused as refused:
            self._opened(refused.failure)
            return
        except Exception as error:
            self._opened(_bug(error))
            return
        if self._state is State.BUSY:
            self._attempt = attempt
            if self._shared.settings.fast_open:
                self._open_fast(attempt)

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

    def _opened(self, result: Tunnel | Failure) -> None:
        """The handshake is over: here is the tunnel, or why there is none."""
        record = self._record
        assert record is not None
        self._attempt = None
        if isinstance(result, Failure):
            self._shared.observer.refused(record, result)
            if self._fast:
                self._state = State.CLOSED
                reset(self._transport)
            else:
                self._refuse(result)
        elif self._transport.is_closing():
            result.transport.abort()
            self._shared.observer.refused(record, _USER_LEFT)
        else:
            self._established(record, result)

    def _give_up(self) -> None:
        """Nobody wants the answer any more."""
        if self._state is not State.BUSY:
            return
        self._state = State.CLOSED
        if self._task is not None:
            self._task.cancel()
        if self._attempt is not None:
            self._attempt.cancel()
        if self._record is not None:
            self._shared.observer.refused(self._record, _USER_LEFT)

    def _established(self, record: TunnelRecord, tunnel: Tunnel) -> None:
        """Nothing of the user can get lost between the answer and the relay: both happen in one step."""
        shared = self._shared
        self._tunnel = tunnel
        record.exit = tunnel.exit
        relay = Relay(
            self._transport,
            tunnel.transport,
            idle_timeout=shared.settings.idle_timeout,
            half_close_timeout=shared.settings.half_close_timeout,
            on_end=self._ended,
            on_first_byte=shared.observer.metrics.first_byte_seconds.observe,
        )
        self._state = State.RELAYED
        shared.observer.opened(record, relay)
        if not self._fast:
            self._transport.write(self._front.granted())
        early, self._early = self._early, []
        sent = self._early_bytes if self._eager is not None else 0
        relay.start(b"".join(early), sent=sent, ended=self._half_closed)

    def _ended(self, how: Ended) -> None:
        self._state = State.CLOSED
        if how.reason is not Reason.DONE:
            self._tunnel.transport.abort()
        assert self._record is not None
        self._shared.observer.ended(self._record)
        self._tunnel.on_end(how)
        self._shared.left(self)

    # Answers

    async def _page(self, request: PageRequest) -> None:
        try:
            data = await self._shared.pages.answer(request)
        except Exception:
            log.exception("a page could not be made")
            data = self._front.refused(Failure(FailureKind.INTERNAL, "internal error"))
        self._task = None
        self._answer(data)

    def _refuse_request(self, failure: Failure) -> None:
        """What was sent leads to no tunnel, whatever an exit would say."""
        record = self._new_record()
        log.warning("%s %s: %s", self._front.name, record.remote, failure.text)
        self._shared.observer.refused(record, failure)
        self._refuse(failure)

    def _refuse(self, failure: Failure) -> None:
        self._answer(self._front.refused(failure))

    def _answer(self, data: bytes) -> None:
        self._state = State.LINGERING
        self._early.clear()
        if self._transport.is_closing():
            return
        self._transport.write(data)
        if self._transport.can_write_eof():
            self._transport.write_eof()
        self._transport.resume_reading()
        self._timer = after(_LINGER, self._transport.abort)

    # The end

    def close(self) -> None:
        """Ends the connection in whatever state it is."""
        if self._state is State.RELAYED:
            assert self._record is not None and self._record.relay is not None
            self._record.relay.stop()
        elif self._fast:
            self._give_up()
            reset(self._transport)
        else:
            self._give_up()
            self._transport.close()

    @property
    def is_idle(self) -> bool:
        """Whether no request is being served: nothing is lost when it is closed."""
        return self._state not in (State.BUSY, State.RELAYED)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _bug(error: Exception) -> Failure:
    """For the user it has no details: what they say is not known."""
    log.error("a tunnel could not be opened", exc_info=error)
    return Failure(FailureKind.INTERNAL, f"internal error: {type(error).__name__}")


_USER_LEFT = Failure(FailureKind.GONE, "the user left")
