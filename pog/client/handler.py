"""One connection of a user's program, from its first byte until the relay takes over.

The connection is in one of these states:

    head         collecting the request; a timer runs
    busy         opening the tunnel or making a page; what the user sends meanwhile is held, up to a bound
    relay        the tunnel is open, the transport has another protocol, and this object waits for its end
    lingering    an answer was sent; what still arrives is dropped until the user closes, or a timer does
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, cast

from grpclib.const import Status

from pog.client.exits.call import RUN, TunnelRefused
from pog.errors import AuthBusy, AuthError, CallFailed, ExitUnavailable
from pog.front.http1 import (
    ESTABLISHED,
    NEED_MORE,
    ConnectRequest,
    Outcome,
    PageRequest,
    Refusal,
    RequestHead,
    error_answer,
)
from pog.net.address import join_host_port
from pog.observe.accesslog import Visit
from pog.process.timers import Timer, after
from pog.tunnel.relay import Ended, Reason, Relay, Side

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from pog.client.users import Opening, Users

log = logging.getLogger(__name__)

# What a user may send behind CONNECT before it is answered: a TLS hello is 0.5 to 2 KiB; what a socket's buffer holds
# besides stays there.
_MAX_EARLY_BYTES = 64 * 1024
# An answer followed by a close with unread bytes would be lost to a TCP reset; nginx lingers 5 s. Seconds.
_LINGER = 2.0
# nginx's code for a user who left before the answer; it appears in the log only.
_USER_GONE = 499


class UserConnection(asyncio.Protocol):
    """Serves one connection; `users` is what all of them share."""

    __slots__ = (
        "_busy",
        "_early",
        "_early_bytes",
        "_half_closed",
        "_head",
        "_opening",
        "_relay",
        "_task",
        "_timer",
        "_transport",
        "_tunnel",
        "_users",
        "_visit",
    )

    _transport: asyncio.Transport
    _tunnel: asyncio.Transport

    def __init__(self, users: Users) -> None:
        self._users = users
        self._head: RequestHead | None = RequestHead()
        self._timer: Timer | None = None
        self._busy = False
        self._visit: Visit | None = None
        self._task: asyncio.Task[None] | None = None
        self._opening: Opening | None = None
        self._relay: Relay | None = None
        self._early: list[bytes] = []
        self._early_bytes = 0
        self._half_closed = False

    # Called by the event loop, until the relay takes over.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods of asyncio.Transport, but not its name.
        self._transport = cast("asyncio.Transport", transport)
        self._users.entered(self)
        self._timer = after(self._users.settings.head_timeout, self._head_is_late)

    def data_received(self, data: bytes) -> None:
        if self._head is not None:
            outcome = self._head.receive_data(data)
            if outcome is not NEED_MORE:
                self._head_received(outcome)
        elif self._busy:
            self._hold(data)

    def eof_received(self) -> bool:
        """Who asked for a page, or has sent something for the tunnel, may be done with sending only; others left."""
        if not self._busy:
            return False
        self._half_closed = self._visit is None or bool(self._early)
        if not self._half_closed:
            self._give_up()
        return self._half_closed

    def connection_lost(self, exc: Exception | None) -> None:
        self._head = None
        self._stop_timer()
        self._give_up()
        self._users.left(self)

    # The head.

    def _head_received(self, outcome: Outcome) -> None:
        self._head = None
        self._stop_timer()
        if isinstance(outcome, ConnectRequest):
            self._busy = True
            self._hold(outcome.early)
            self._connect(outcome)
        elif isinstance(outcome, PageRequest):
            self._busy = True
            self._start(self._page(outcome), "page")
        elif isinstance(outcome, Refusal):
            self._refuse(outcome)

    def _head_is_late(self) -> None:
        # Browsers open connections in advance; to say 408 on one that was never used shows as an error there.
        head, self._head = self._head, None
        if head is not None and head.begun:
            self._refuse(Refusal(408, f"no complete request within {self._users.settings.head_timeout:g} s"))
        else:
            self._transport.close()

    def _start(self, work: Coroutine[None, None, None], name: str) -> None:
        self._task = self._users.loop.create_task(work, name=name)

    def _hold(self, data: bytes) -> None:
        if data:
            self._early.append(data)
            self._early_bytes += len(data)
            if self._early_bytes >= _MAX_EARLY_BYTES:
                self._transport.pause_reading()

    # The handshake: no task, unless credentials have to be checked or no connection has room.

    def _connect(self, request: ConnectRequest) -> None:
        users = self._users
        # The address now: uvloop knows it no more once the user is gone.
        visit = self._visit = Visit(self._remote(), request.host_port, status=_USER_GONE, text="the user left")
        users.metrics.handshake_began()
        user = users.authenticator.check_nowait(request.proxy_authorization)
        if user is not None:
            self._open(visit, user)
        else:
            self._start(self._authenticate(visit, request.proxy_authorization), "authenticate")

    async def _authenticate(self, visit: Visit, authorization: str | None) -> None:
        try:
            user = await self._users.authenticator.check(authorization)
        except Exception as error:
            self._task = None
            self._opened(error)
        else:
            self._task = None
            self._open(visit, user)

    def _open(self, visit: Visit, user: str) -> None:
        visit.user = user
        try:
            self._users.check_room()
            opening = self._users.exit.open(visit.host_port, self._opened)
        except Exception as error:
            self._opened(error)
            return
        if self._busy:
            self._opening = opening

    def _opened(self, result: asyncio.Transport | Exception) -> None:
        """The handshake is over: here is the tunnel, or why there is none."""
        visit = self._visit
        assert visit is not None
        self._opening = None
        self._busy = False
        if isinstance(result, Exception):
            refusal = _refusal(result)
            visit.status, visit.text = refusal.status, refusal.text
            self._refuse(refusal)
        elif self._transport.is_closing():
            result.abort()
        else:
            self._established(visit, result)
        self._answered(visit)

    def _give_up(self) -> None:
        """Nobody wants the answer any more."""
        if not self._busy:
            return
        self._busy = False
        if self._task is not None:
            self._task.cancel()
        if self._opening is not None:
            self._opening.cancel()
        if self._visit is not None:
            self._answered(self._visit)

    def _answered(self, visit: Visit) -> None:
        users = self._users
        users.metrics.handshake_ended()
        opened = visit.opened_after is not None
        if not opened:
            visit.code = str(visit.status)
            users.metrics.refused(visit.code)
        users.log.answered(visit, opened=opened)

    def _established(self, visit: Visit, tunnel: asyncio.Transport) -> None:
        """Nothing of the user can get lost between the answer and the relay: both happen in one step."""
        users = self._users
        visit.opened_after = time.perf_counter() - visit.began
        visit.status, visit.code = 200, "200"
        users.metrics.handshake_seconds.observe(visit.opened_after)
        self._tunnel = tunnel
        self._relay = Relay(
            self._transport,
            tunnel,
            idle_timeout=users.settings.idle_timeout,
            half_close_timeout=users.settings.half_close_timeout,
            on_end=self._ended,
            on_first_byte=users.metrics.first_byte_seconds.observe,
        )
        users.metrics.tunnel_opened(self._relay)
        self._transport.write(ESTABLISHED)
        early, self._early = self._early, []
        self._relay.start(b"".join(early), ended=self._half_closed)

    def _ended(self, how: Ended) -> None:
        if how.reason is not Reason.DONE:
            self._tunnel.abort()
        metrics = self._users.metrics
        assert self._relay is not None and self._visit is not None
        metrics.tunnel_ended(self._relay)
        self._users.log.ended(self._visit, self._relay)
        seconds = time.perf_counter() - self._visit.began
        metrics.rpc_completed(RUN, _status(how), seconds, bytes_in=how.from_tunnel, bytes_out=how.from_local)
        self._users.left(self)

    # Answers.

    async def _page(self, request: PageRequest) -> None:
        try:
            data = await self._users.pages.answer(request)
        except Exception:
            log.exception("a page could not be made")
            data = error_answer(500, "internal error", "proxy_internal_error")
        self._task = None
        self._busy = False
        self._answer(data)

    def _refuse(self, refusal: Refusal) -> None:
        self._answer(error_answer(refusal.status, refusal.text, refusal.error, challenge=refusal.status == 407))

    def _answer(self, data: bytes) -> None:
        self._early.clear()
        if self._transport.is_closing():
            return
        self._transport.write(data)
        if self._transport.can_write_eof():
            self._transport.write_eof()
        self._transport.resume_reading()
        self._timer = after(_LINGER, self._transport.abort)

    # The end.

    def close(self) -> None:
        """Ends the connection in whatever state it is."""
        if self._relay is not None:
            self._relay.stop()
        else:
            self._give_up()
            self._transport.close()

    @property
    def is_idle(self) -> bool:
        """Whether no request is being served: nothing is lost when it is closed."""
        return self._relay is None and not self._busy

    def _remote(self) -> str:
        peer = self._transport.get_extra_info("peername")
        return join_host_port(peer[0].removeprefix("::ffff:"), peer[1]) if peer else "-"

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _status(how: Ended) -> Status:
    """How the call of an open tunnel ended, as a gRPC client counts it."""
    if isinstance(how.error, CallFailed):
        return how.error.status
    if how.reason is Reason.DONE:
        return Status.OK
    return Status.UNAVAILABLE if how.side is Side.TUNNEL else Status.CANCELLED


def _refusal(error: Exception) -> Refusal:
    """What the user is told about a tunnel that was not opened."""
    match error:
        case TunnelRefused():
            return error.refusal
        case AuthBusy() | ExitUnavailable():
            return Refusal(503, str(error), "destination_unavailable")
        case AuthError():
            return Refusal(407, str(error), "http_request_denied")
        case _:
            log.exception("a tunnel could not be opened", exc_info=error)
            return Refusal(500, f"internal error: {type(error).__name__}", "proxy_internal_error")
