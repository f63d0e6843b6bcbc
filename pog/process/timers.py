"""The event loop's timers, for those who need one per tunnel and mostly cancel it.

A tunnel sets five timers at each end, with four different delays. One of uvloop's takes 2.4 µs to set and 0.4 KB; here
all timers with the same delay stand in one line, in which the first is always the next to be due, and the loop has one
timer for the line.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from contextvars import Context
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

# uvloop counts in whole milliseconds and may be early by half of one; seconds.
_RESOLUTION = 0.001

_lines: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[float, _Line]] = WeakKeyDictionary()


def after(seconds: float, callback: Callable[[], object]) -> Timer:
    """As call_later of the running loop."""
    loop = asyncio.get_running_loop()
    lines = _lines.get(loop)
    if lines is None:
        for closed in [each for each in _lines if each.is_closed()]:
            del _lines[closed]  # what waits there would keep it alive
        lines = _lines[loop] = {}
    line = lines.get(seconds)
    if line is None:
        line = lines[seconds] = _Line(seconds)
    return line.add(loop, callback)


class Timer:
    """One callback to come."""

    __slots__ = ("_callback", "_line", "when")

    def __init__(self, line: _Line, when: float, callback: Callable[[], object]) -> None:
        self._line = line
        self._callback: Callable[[], object] | None = callback
        self.when = when

    def cancel(self) -> None:
        """Does nothing to one that was cancelled, or was called."""
        self._callback = None
        self._line.waiting.pop(self, None)

    def call(self) -> None:
        """It is due."""
        callback, self._callback = self._callback, None
        if callback is not None:
            callback()


class _Line:
    """The timers with one delay, in the order in which they are due. The loop's timer is set while anybody waits; that
    its first one was cancelled in the meantime is found out when it fires."""

    __slots__ = ("_seconds", "_set", "waiting")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._set = False
        self.waiting: OrderedDict[Timer, None] = OrderedDict()

    def add(self, loop: asyncio.AbstractEventLoop, callback: Callable[[], object]) -> Timer:
        timer = Timer(self, loop.time() + self._seconds, callback)
        self.waiting[timer] = None
        if not self._set:
            self._set = True
            self._arm(loop, timer)
        return timer

    def _arm(self, loop: asyncio.AbstractEventLoop, timer: Timer) -> None:
        # In nobody's context: the next one may stand in line for another task.
        loop.call_at(timer.when, self._fire, loop, context=Context())

    def _fire(self, loop: asyncio.AbstractEventLoop) -> None:
        due = loop.time() + _RESOLUTION
        while self.waiting:
            timer = next(iter(self.waiting))
            if timer.when > due:
                self._arm(loop, timer)
                return
            del self.waiting[timer]
            loop.call_soon(timer.call)
        self._set = False


class Limit:
    """As asyncio.timeout: `with Limit(seconds):` raises TimeoutError when what is awaited inside takes longer."""

    __slots__ = ("_cancelling", "_expired", "_seconds", "_task", "_timer")

    _task: asyncio.Task[object]

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._expired = False

    def __enter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._cancelling = task.cancelling()
        self._timer = after(self._seconds, self._expire)

    def _expire(self) -> None:
        self._expired = True
        self._task.cancel()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._timer.cancel()
        if self._expired and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error
