"""Checks Basic credentials against auth items.

Strategy: bcrypt is slow on purpose, about 50 ms, so

1. it runs in a few threads of its own, never on the event loop, and the number of checks that wait for them is limited;
2. credentials that passed are remembered, until their item expires, under a keyed digest: neither password nor header
   is kept, and the key dies with the process; what was refused is not remembered;
3. callers that bring the same credentials at the same time share one run;
4. every refusal costs the same: a user that does not exist is checked against a dummy hash, and a hash of a lower cost
   than others is followed by dummies up to the highest, so that time tells no more than the text does. What was wrong
   is known when all of that is done, and goes to the log only (refusals.py).
"""

from __future__ import annotations

import asyncio
import binascii
import os
import time
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from typing import TYPE_CHECKING, Protocol

import bcrypt

from pog.auth.refusals import Fault, Refusals
from pog.config.auth_items import LONGEST_PASSWORD
from pog.errors import AuthBusy, AuthError
from pog.tunnel.request import ANONYMOUS, User

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from pog.config.auth_items import AuthItem

# A user of 72 bytes of password and several times that of name; more is no login.
LONGEST_HEADER = 1024
# One entry is about 300 bytes. More than one per item exists only where a header is written in several ways.
MOST_REMEMBERED = 4096
# At 50 ms a check, the last one waits 3 s on one thread; a flood of wrong passwords must not delay the end either.
MOST_WAITING = 64
# bcrypt leaves the interpreter's lock, so threads use cores; one core stays with the event loop.
THREADS = max(1, min(4, (os.cpu_count() or 1) - 1))


def parse_basic(authorization: str) -> tuple[bytes, bytes] | None:
    """User and password of `Basic base64`, or of bare base64 as the original takes it; None for anything else."""
    if len(authorization) > LONGEST_HEADER:
        return None
    scheme, _, token = authorization.partition(" ")
    try:
        given = binascii.a2b_base64(token.strip(" ") if scheme.lower() == "basic" else authorization, strict_mode=True)
    except ValueError:
        return None
    user, colon, password = given.partition(b":")
    return (user, password) if colon else None


def dummy_hash(cost: int) -> bytes:
    """A hash that costs as much as a real one and that no password is known to have."""
    return b"$2b$%02d$" % cost + b"." * 53


class Counts(Protocol):
    """What is counted of credentials."""

    def auth_expiry(self, prefix: str, earliest: datetime) -> None:
        """The first item of these variables to expire does so then."""

    def auth_failed(self) -> None:
        """Credentials were refused."""


class Authenticator:
    """Who may pass. Without items everybody may, as the user "anonymous"."""

    def __init__(
        self, items: Sequence[AuthItem], prefix: str, counts: Counts, *, now: Callable[[], float] = time.time
    ) -> None:
        """`prefix` is the one of the variables that hold the items; it names them in the metrics."""
        self._now = now
        self._prefix = prefix
        self._counts = counts
        self._refusals = Refusals(prefix)
        self._key = os.urandom(32)
        self._pool: ThreadPoolExecutor | None = None
        self.replace(items)

    def replace(self, items: Sequence[AuthItem]) -> None:
        """From now on these items count; nothing that passed or is being checked by others is remembered."""
        # Under a keyed digest too, so that the time of the look-up says nothing about the name. The first item counts.
        self._items = {self._digest(item.name.encode()): item for item in reversed(items)}
        self._highest_cost = max((item.cost for item in items), default=0)
        self._remembered: dict[bytes, tuple[User, float]] = {}
        self._running: dict[bytes, asyncio.Future[User | Fault]] = {}
        if items:
            self._counts.auth_expiry(self._prefix, min(item.expires for item in items))

    @property
    def items(self) -> list[AuthItem]:
        """Those that count."""
        return [*self._items.values()]

    @property
    def is_open(self) -> bool:
        """Whether everybody may pass."""
        return not self._items

    def check_nowait(self, authorization: str | None) -> User | None:
        """The user, when that is known without bcrypt; None says only that `check` must be asked."""
        if not self._items:
            return ANONYMOUS
        if not authorization or len(authorization) > LONGEST_HEADER:
            return None
        known = self._remembered.get(self._digest(authorization.encode("utf-8", "surrogatepass")))
        if known is None or self._now() > known[1]:
            return None
        return known[0]

    async def check(self, authorization: str | None, remote: str) -> User:
        """The user that the header names. Raises AuthError, and AuthBusy when too many wait to be checked.

        `remote` is who asks, for the log.
        """
        if user := self.check_nowait(authorization):
            return user
        if not authorization:
            raise AuthError(missing=True)
        login, items = parse_basic(authorization), self._items
        found = await asyncio.shield(self._run(authorization, *login)) if login else Fault.MALFORMED
        if self._items is not items:
            return await self.check(authorization, remote)
        if isinstance(found, Fault):
            self._counts.auth_failed()
            self._refusals.add(found, login[0] if login else None, remote)
            raise AuthError
        return found

    def close(self) -> None:
        """Ends the threads; checks that wait for one are cancelled."""
        self._refusals.end()
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)

    def _digest(self, text: bytes) -> bytes:
        return blake2b(text, key=self._key, digest_size=16).digest()

    def _run(self, authorization: str, user: bytes, password: bytes) -> asyncio.Future[User | Fault]:
        """The check of these credentials that is under way, or a new one. Raises AuthBusy."""
        digest = self._digest(authorization.encode("utf-8", "surrogatepass"))
        running = self._running.get(digest)
        if running is None:
            if len(self._running) >= MOST_WAITING:
                raise AuthBusy
            self._pool = self._pool or ThreadPoolExecutor(THREADS, thread_name_prefix="auth")
            item = self._items.get(self._digest(user))
            running = asyncio.get_running_loop().run_in_executor(self._pool, self._passes, item, password)
            self._running[digest] = running
            running.add_done_callback(lambda done: self._done(digest, item, done))
        return running

    def _passes(self, item: AuthItem | None, password: bytes) -> User | Fault:
        """Runs in a thread: the user, or what is wrong after as much work as any refusal costs."""
        cost, hashed = (item.cost, item.hash.encode()) if item else (self._highest_cost, dummy_hash(self._highest_cost))
        matches = bcrypt.checkpw(password[:LONGEST_PASSWORD], hashed) and len(password) <= LONGEST_PASSWORD
        if item and matches and self._now() <= item.expires.timestamp():
            return User(item.name)
        # Each cost is twice the work of the one below: these dummies add up to the highest.
        for each in range(cost, self._highest_cost):
            bcrypt.checkpw(password[:LONGEST_PASSWORD], dummy_hash(each))
        if item is None:
            return Fault.UNKNOWN
        return Fault.EXPIRED if matches else Fault.WRONG

    def _done(self, digest: bytes, item: AuthItem | None, done: asyncio.Future[User | Fault]) -> None:
        if self._running.get(digest) is not done:
            return  # the items are others now
        del self._running[digest]
        if done.cancelled() or done.exception() or item is None or isinstance(user := done.result(), Fault):
            return
        if len(self._remembered) >= MOST_REMEMBERED:
            del self._remembered[next(iter(self._remembered))]
        self._remembered[digest] = user, item.expires.timestamp()
