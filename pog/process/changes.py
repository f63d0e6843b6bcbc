"""Notices that a file has changed, by looking at it once a second: every system can do that, for any file system."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pog.process.timers import after

if TYPE_CHECKING:
    from collections.abc import Callable

    from pog.process.timers import Timer

INTERVAL = 1.0

_Stamp = tuple[int, int, int] | None


class FileWatch:
    """Calls `changed` when the file is another one than at the last call, and stays so for a second: what is being
    written is not read. Needs a running loop."""

    def __init__(self, path: str, changed: Callable[[], None], stamp: Callable[[str], _Stamp] | None = None) -> None:
        self._path = path
        self._changed = changed
        self._stamp = stamp or _stamp
        self._known = self._last = self._stamp(path)
        self._timer: Timer | None = after(INTERVAL, self._look)

    def read(self) -> None:
        """The file was read just now, for another reason."""
        self._known = self._last = self._stamp(self._path)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = after(INTERVAL, self._look)
        now = self._stamp(self._path)
        settled, self._last = now == self._last, now
        if settled and now != self._known:
            self._known = now
            self._changed()


def _stamp(path: str) -> _Stamp:
    """What changes when a file is written or replaced; None where there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
