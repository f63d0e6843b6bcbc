"""Which stream may send next, when several have something to send. [pure]

Strategy (after FQ-CoDel, RFC 8290 section 4.1): streams that have just become ready go before those that have been
sending for a while, so a keystroke does not wait behind a download; each turn is limited in bytes; streams that still
have data after their turn take turns in a circle. A stream that becomes ready again and again gets one such early turn
per step of the circle, so it cannot starve the others.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pog.http2.fields import Headers
    from pog.http2.machine_stream import MachineStream

Chunk = bytes | memoryview
# What is to be sent, once chunks have been joined.
Piece = bytes | bytearray | memoryview


# Small chunks behind others are joined up to this size: each on its own costs a hundred bytes beside its own.
_SMALL_BYTES = 1024
_JOINED_BYTES = 16 * 1024


class QueueOwner(Protocol):
    """The stream that a queue belongs to."""

    def on_sent(self) -> None:
        """Some of the queue has become frames."""

    def abort(self, error_code: int) -> None:
        """Resets the stream."""


class SendQueue:
    """What one stream has still to send: chunks of `size` bytes together, then perhaps its end, as a flag or trailers.

    `ready`: it stands in the scheduler's order. `finished`: all of it, with the end, has become frames.
    """

    __slots__ = ("chunks", "ends", "finished", "last_turn", "machine", "owner", "ready", "size", "trailers")

    def __init__(self, machine: MachineStream, owner: QueueOwner | None = None) -> None:
        self.machine = machine
        self.owner = owner
        self.chunks: list[Piece] = []
        self.size = 0
        self.ends = False
        self.finished = False
        self.trailers: Headers | None = None
        self.ready = False
        self.last_turn = -1

    def close(self) -> None:
        """The stream is over: nothing is sent any more, and the owner gets no calls."""
        self.ready = False
        self.owner = None
        self.clear()

    def add(self, chunks: list[Chunk], size: int) -> None:
        """`size` is the sum of the chunks' lengths in bytes; none of them is empty."""
        self.size += size
        waiting = self.chunks
        if size >= _SMALL_BYTES or not waiting:
            waiting += chunks
            return
        last = waiting[-1]
        if type(last) is not bytearray or len(last) >= _JOINED_BYTES:
            last = bytearray()
            waiting.append(last)
        for chunk in chunks:
            last += chunk

    def clear(self) -> None:
        self.chunks = []
        self.size = 0

    def take(self, limit: int) -> list[Piece]:
        """At most `limit` bytes from the front. Nothing is added any more to what is taken."""
        chunks = self.chunks
        if self.size <= limit:
            self.clear()
            return chunks
        self.size -= limit
        taken: list[Piece] = []
        for at, chunk in enumerate(chunks):
            if len(chunk) > limit:
                if limit:
                    view = memoryview(chunk)
                    taken.append(view[:limit])
                    chunks[at] = view[limit:]
                break
            taken.append(chunk)
            limit -= len(chunk)
        del chunks[:at]
        return taken


class Scheduler:
    """The queues that are ready to send, in their order. A queue is ready when it has data and its window is open.

    `waiting` is how many places in the order are taken, those of streams that are gone meanwhile among them.
    """

    __slots__ = ("_fresh", "_ring", "_turn", "waiting")

    def __init__(self) -> None:
        self._fresh: deque[SendQueue] = deque()
        self._ring: deque[SendQueue] = deque()
        self._turn = 0
        self.waiting = 0

    def wake(self, queue: SendQueue) -> None:
        """The queue has something to send, and may."""
        if queue.ready:
            return
        queue.ready = True
        self.waiting += 1
        if queue.last_turn == self._turn and self._ring:
            self._ring.append(queue)
        else:
            self._fresh.append(queue)

    def next(self) -> SendQueue | None:
        """The queue whose turn it is; it is out of the order until `again` or `wake`."""
        while self.waiting:
            self.waiting -= 1
            if self._fresh:
                queue = self._fresh.popleft()
            else:
                queue = self._ring.popleft()
                self._turn += 1
            if queue.ready:
                queue.ready = False
                queue.last_turn = self._turn
                return queue
        return None

    def again(self, queue: SendQueue) -> None:
        """The queue had its turn and has more."""
        queue.ready = True
        self.waiting += 1
        self._ring.append(queue)
