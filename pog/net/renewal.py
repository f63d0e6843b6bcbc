"""Keeps the certificate of a running program fresh, and says in time that it ends.

1. At SIGHUP its files are read again.
2. They are also read again when they have changed, which a thread of its own looks for: a file system that has stopped
   answering must not stop the event loop. Somebody who writes two files writes one after the other, so what is new is
   read when it has been the same at two looks.
3. From 14 days before the end on there is a warning a day, and an error a day after it.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from pog.errors import SettingsError
from pog.process.sighup import at_sighup

if TYPE_CHECKING:
    from collections.abc import Callable

    from pog.net.certificate import Certificate, Stamp

log = logging.getLogger("pog")

# Twice this until a new certificate is presented; seconds.
INTERVAL = 10.0
WARNED_BEFORE = timedelta(days=14)
_DAY = timedelta(days=1)


class Renewal:
    """Watches over one certificate from `start` to `stop`; both in a running event loop.

    `warns` says whether it is the one who warns of the end: of several processes one is enough.
    """

    def __init__(
        self,
        certificate: Certificate,
        *,
        warns: bool = True,
        interval: float = INTERVAL,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._certificate = certificate
        self._warns = warns
        self._interval = interval
        self._now = now
        # What was read, and what was there at the last look.
        self._read = self._seen = certificate.stamp()
        self._warned_at: datetime | None = None
        self._stopped = threading.Event()
        self._forget: Callable[[], None] = lambda: None

    def start(self) -> None:
        if self._warns and (presented := self._certificate.presented) is not None:
            log.info("TLS: certificate %s, until %s, key %s", self._certificate.chain, presented.ends, presented.pin)
        self._warn()
        self._forget = at_sighup(lambda: self._reload("SIGHUP"))
        loop = asyncio.get_running_loop()
        threading.Thread(target=self._look, args=(loop,), name="certificate", daemon=True).start()

    def stop(self) -> None:
        self._stopped.set()
        self._forget()

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """Runs in the thread."""
        while not self._stopped.wait(self._interval):
            stamp = self._certificate.stamp()
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(self.looked, stamp)

    def looked(self, stamp: Stamp) -> None:
        """What the files are like now."""
        if self._stopped.is_set():
            return
        if stamp == self._seen and stamp != self._read:
            self._reload("changed")
        self._seen = stamp
        self._warn()

    def _reload(self, why: str) -> None:
        self._read = self._certificate.stamp()
        try:
            self._certificate.reload()
        except SettingsError as error:
            log.error("%s: the certificate stays as it was: %s", why, error)
            return
        log.info("%s: the certificate was read again from %s", why, self._certificate.chain)
        self._warned_at = None
        self._warn()

    def _warn(self) -> None:
        presented, now = self._certificate.presented, self._now()
        if presented is None or not self._warns or now < presented.ends - WARNED_BEFORE:
            return
        if self._warned_at is not None and now - self._warned_at < _DAY:
            return
        self._warned_at = now
        if now < presented.ends:
            days = (presented.ends - now).days
            log.warning("the certificate in %s ends in %d days, at %s", self._certificate.chain, days, presented.ends)
        else:
            log.error("the certificate in %s has EXPIRED at %s", self._certificate.chain, presented.ends)
