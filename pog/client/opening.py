"""One tunnel that a user asked for, from its credentials until it is joined with the user's end."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Protocol

from pog.errors import Failure, FailureKind, Refused
from pog.tunnel.ended import Ended, Reason
from pog.tunnel.relay import Relay
from pog.tunnel.request import ANONYMOUS, TunnelRequest, User

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from pog.auth.check import Authenticator
    from pog.config.client_settings import ClientSettings
    from pog.front.base import TunnelWanted
    from pog.observe.tunnels import TunnelObserver
    from pog.tunnel.live import TunnelRecord
    from pog.tunnel.request import Attempt, Exit, Tunnel

log = logging.getLogger(__name__)


class Shared(Protocol):
    """What the connections of all users have in common, as far as tunnels are concerned."""

    loop: asyncio.AbstractEventLoop
    settings: ClientSettings
    exit: Exit
    authenticator: Authenticator
    observer: TunnelObserver

    def check_room(self) -> None:
        """Raises Refused when no other tunnel may be opened now."""


class Opening:
    """Checks credentials and room and has the exit open a tunnel: no task, unless credentials have to be checked.

    `done` is called once, perhaps within `begin`, unless the opening is cancelled. A failure has been told to the
    observer by then; a tunnel is `joined` next. `attempted` gets the exit's attempt while it is on its way.
    """

    __slots__ = ("_attempt", "_attempted", "_done", "_record", "_shared", "_task")

    def __init__(
        self,
        shared: Shared,
        record: TunnelRecord,
        done: Callable[[TunnelRecord, Tunnel | Failure], None],
        attempted: Callable[[Attempt], None] | None = None,
    ) -> None:
        self._shared = shared
        self._record = record
        self._attempted = attempted
        self._done: Callable[[TunnelRecord, Tunnel | Failure], None] | None = done
        self._task: asyncio.Task[None] | None = None
        self._attempt: Attempt | None = None

    def begin(self, user: User | None, wanted: TunnelWanted) -> None:
        """`user` where it is known already."""
        self._shared.observer.requested(self._record)
        user = user or self._shared.authenticator.check_nowait(wanted.authorization)
        if user is ANONYMOUS and wanted.user_id:
            user = User(wanted.user_id)
        if user is not None:
            self._open(user)
        else:
            self._task = self._shared.loop.create_task(self._authenticate(wanted.authorization), name="authenticate")

    def cancel(self, why: Failure) -> None:
        """Nobody wants the tunnel any more."""
        if self._done is None:
            return
        self._done = None
        if self._task is not None:
            self._task.cancel()
        if self._attempt is not None:
            self._attempt.cancel()
        self._shared.observer.refused(self._record, why)

    async def _authenticate(self, authorization: str | None) -> None:
        try:
            user = await self._shared.authenticator.check(authorization, self._record.remote)
        except Exception as error:
            self._task = None
            self._opened(error.failure if isinstance(error, Refused) else internal(error))
        else:
            self._task = None
            self._open(user)

    def _open(self, user: User) -> None:
        record = self._record
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
            self._opened(internal(error))
            return
        if self._done is not None:
            self._attempt = attempt
            if self._attempted is not None:
                self._attempted(attempt)

    def _opened(self, result: Tunnel | Failure) -> None:
        done, self._done = self._done, None
        assert done is not None
        if isinstance(result, Failure):
            self._shared.observer.refused(self._record, result)
        done(self._record, result)


def joined(
    shared: Shared, record: TunnelRecord, tunnel: Tunnel, local: asyncio.Transport, on_end: Callable[[Ended], None]
) -> Relay:
    """The relay between the user's end and a tunnel that is open, to be started next; `on_end` calls `parted`."""
    settings = shared.settings
    record.tunnel = tunnel
    relay = Relay(
        local,
        tunnel.transport,
        idle_timeout=settings.idle_timeout,
        half_close_timeout=settings.half_close_timeout,
        on_end=on_end,
        on_first_byte=shared.observer.metrics.first_byte_seconds.observe,
    )
    shared.observer.opened(record, relay)
    return relay


def parted(shared: Shared, record: TunnelRecord, tunnel: Tunnel, how: Ended) -> None:
    """The relay has ended."""
    if how.reason is not Reason.DONE:
        tunnel.transport.abort()
    shared.observer.ended(record)
    tunnel.on_end(how)


def internal(error: Exception) -> Failure:
    """A bug of ours. For the user it has no details: what they say is not known."""
    log.error("a tunnel could not be opened", exc_info=error)
    return Failure(FailureKind.INTERNAL, f"internal error: {type(error).__name__}")


USER_LEFT = Failure(FailureKind.GONE, "the user left")
STOPPING = Failure(FailureKind.STOPPING, "pog is stopping")
