"""Whether a server accepts the credentials of its exit, tried when a connection is there and not when a user waits.

One line when they are refused, one when they are accepted after that, and none while nothing changes.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from grpclib.const import Status

from pog.client.exits.unary import unary
from pog.errors import CallFailed, PogError
from pog.proto import healthcheck_pb2

if TYPE_CHECKING:
    from pog.http2.session import Session

log = logging.getLogger(__name__)

# The Go original has this service too, and asks for credentials there as it does for tunnels.
METHOD = "healthcheck.Healthcheck/Invoke"
# A server that answers later gives no verdict; seconds.
_PATIENCE = 10.0


class CredentialsTrial:
    """Of the exit `name`; `given_by` is the variable or file that holds the credentials."""

    def __init__(self, name: str, given_by: str) -> None:
        self._name = name
        self._given_by = given_by
        self._refused = ""
        self._task: asyncio.Task[None] | None = None

    def begin(self, session: Session, headers: list[tuple[str, str]]) -> None:
        """Tries them on a new connection, in the background; `headers` are those of a call to METHOD."""
        self.cancel()
        self._task = asyncio.create_task(self._try(session, headers), name=f"credentials of {self._name}")

    def cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def _try(self, session: Session, headers: list[tuple[str, str]]) -> None:
        refused = ""
        try:
            async with asyncio.timeout(_PATIENCE):
                await unary(session, headers, healthcheck_pb2.Request(), healthcheck_pb2.Response)
        except CallFailed as error:
            if error.status is not Status.UNAUTHENTICATED:
                return  # UNIMPLEMENTED and all others say nothing of credentials
            refused = error.message or "no reason given"
        except (PogError, TimeoutError):
            return
        if refused and refused != self._refused:
            log.warning("exit %s refuses the credentials of %s: %s", self._name, self._given_by, refused)
        elif self._refused and not refused:
            log.info("exit %s accepts the credentials of %s now", self._name, self._given_by)
        self._refused = refused
