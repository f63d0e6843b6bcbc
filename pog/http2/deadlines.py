"""Streams that have to be over soon: their owner is done, or what they still have to send is to go out. [pure]

A stream that makes progress, however slowly, is not cut: its time begins anew with every byte that goes out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pog.http2.scheduler import SendQueue


@dataclass(slots=True)
class _Deadline:
    seconds: float
    until: float
    # What the stream had unsent at the last check.
    unsent: int
    # Whether it counts only until everything has been sent: the stream may live on, half-closed.
    for_unsent: bool


class Deadlines:
    """At most one for each stream's queue, the newest."""

    __slots__ = ("_deadlines",)

    def __init__(self) -> None:
        self._deadlines: dict[SendQueue, _Deadline] = {}

    def set(self, queue: SendQueue, now: float, seconds: float, *, for_unsent: bool) -> None:
        """`now` and `seconds`, that may pass without progress, are in seconds."""
        self._deadlines[queue] = _Deadline(seconds, now + seconds, queue.size, for_unsent)

    def sent(self, queue: SendQueue) -> None:
        """All that the stream had to send has become frames."""
        deadline = self._deadlines.get(queue)
        if deadline is not None and deadline.for_unsent:
            del self._deadlines[queue]

    def discard(self, queue: SendQueue) -> None:
        """The stream is over."""
        self._deadlines.pop(queue, None)

    def clear(self) -> None:
        self._deadlines.clear()

    def passed(self, now: float) -> list[SendQueue]:
        """The queues of the streams whose time is over; to be asked from time to time."""
        late = []
        for queue, deadline in self._deadlines.items():
            unsent = queue.size
            if unsent != deadline.unsent:
                deadline.unsent, deadline.until = unsent, now + deadline.seconds
            elif deadline.until <= now:
                late.append(queue)
        return late
