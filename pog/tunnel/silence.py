"""Notices that nothing has moved for a while."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Protocol

from pog.process.timers import Timer, after

if TYPE_CHECKING:
    from pog.tunnel.ended import Reason

# It looks this often within its limit, so what is silent ends at most a quarter late.
_LOOKS_PER_LIMIT = 4


class Watched(Protocol):
    """What is to be ended when it is silent for too long."""

    def progress(self) -> object:
        """What changes while something moves."""

    def stop(self, reason: Reason) -> None:
        """Ends it."""


class Silence:
    """Looks at one thing, by one limit at a time."""

    __slots__ = ("_seen", "_timer", "_watched")

    def __init__(self, watched: Watched) -> None:
        self._watched = watched
        self._seen: object = None
        self._timer: Timer | None = None

    def watch(self, limit: float, reason: Reason) -> None:
        """From now on, in the place of the limit before, in seconds; 0 is none. `reason` is what `stop` is told."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if limit > 0:
            self._seen = self._watched.progress()
            self._timer = after(limit / _LOOKS_PER_LIMIT, partial(self._look, limit, reason, 1))

    def cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self, limit: float, reason: Reason, quiet: int) -> None:
        progress = self._watched.progress()
        if progress != self._seen:
            self._seen, quiet = progress, 0
        elif quiet >= _LOOKS_PER_LIMIT:
            self._watched.stop(reason)
            return
        self._timer = after(limit / _LOOKS_PER_LIMIT, partial(self._look, limit, reason, quiet + 1))
