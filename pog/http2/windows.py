"""Receive windows: how much a peer may send before what it sent was taken. [pure]

1. A stream begins with 64 KiB. When it has a reader that takes content as it comes, it gets a moderate window: one
   megabyte passes in one round trip. So a call that has not been authenticated yet cannot occupy much memory.
2. Credit goes back when a quarter of the window can be returned, so that WINDOW_UPDATE frames stay few.
3. When a whole window was used within two round trips, the window is what limits the sender: it doubles, up to its
   ceiling. (Two, since a window that is used up in exactly one round trip is already too small.) Far away it is four:
   what comes after a lost segment waits for it a round trip or two, and the sender for the window meanwhile. With
   1 % loss a window that stays at 1 MiB takes half of the throughput.
4. When it took a window more than eight round trips to be used on a near network, the rest of it only stood in queues
   before the reader, and the other streams behind it: it halves, down to a floor. Far away that is left alone, since
   a window that is too small costs more there than a queue; and so is a stream that is alone.
5. A window that was idle goes back to its first size: what it had grown to fitted the traffic of another time.
6. All receive buffers of the process share a budget. Over half of it no window grows. Over all of it a connection's own
   credit waits for its readers too, and a stream without a reader that sends more is reset; so is any stream when the
   windows that were given before have filled a quarter more.

A window's state has h2's names, since h2 changes it when INITIAL_WINDOW_SIZE changes.
"""

from __future__ import annotations

from h2.exceptions import FlowControlError

KIB = 1024
MIB = 1024 * KIB

# RFC 9113 section 6.9.1.
LARGEST_WINDOW = 2**31 - 1
# What every stream and connection begins with, RFC 9113 section 6.9.2.
DEFAULT_WINDOW = 65_535

STREAM_WINDOW = 64 * KIB
READER_WINDOW = 1 * MIB
STREAM_WINDOW_CEILING = 4 * MIB
CONNECTION_WINDOW = 32 * MIB

_IDLE_SECONDS = 10.0
# Half a read of uvloop's: with less, sender and reader would wait for each other.
_LEAST_WINDOW = 128 * KIB
_NEAR_SECONDS = 0.01


class ReceiveWindow:
    """One window. The peer may send `current_window_size` more bytes; `unconsumed` is received and not yet consumed."""

    __slots__ = (
        "_first_size",
        "_used",
        "_used_since",
        "ceiling",
        "current_window_size",
        "max_window_size",
        "unconsumed",
    )

    def __init__(self, max_window_size: int, ceiling: int = 0) -> None:
        self.current_window_size = max_window_size
        self.max_window_size = max_window_size
        self.ceiling = ceiling
        self.unconsumed = 0
        self._first_size = max_window_size
        self._used = 0
        self._used_since = 0.0

    def window_consumed(self, size: int) -> None:
        """The peer has sent `size` bytes. Raises FlowControlError when it was not allowed to."""
        if size > self.current_window_size and size:
            raise FlowControlError("the peer sent more than its window")
        self.current_window_size -= size
        self.unconsumed += size

    def window_opened(self, size: int) -> None:
        """The window changed by other means than `returned`: a setting, or an increment of our own choice."""
        self.current_window_size += size
        if self.current_window_size > LARGEST_WINDOW:
            raise FlowControlError("a window may not exceed 2^31-1")

    def widen(self, size: int) -> int:
        """Raises the window to `size` bytes, if it is smaller. Returns the increment to announce to the peer."""
        if size <= self.max_window_size:
            return 0
        self.max_window_size = self._first_size = size
        increment = size - self.current_window_size - self.unconsumed
        self.current_window_size += increment
        return increment

    def returned(self, size: int, now: float, rtt: float | None, *, may_grow: bool = True, shared: bool = False) -> int:
        """`size` bytes were consumed. Returns the increment to announce to the peer now, often 0.

        `now` and `rtt`, the round trip, are in seconds. `shared`: other streams are on the same connection.
        """
        return self.announce(now, rtt, may_grow=may_grow, shared=shared) if self.consumed(size) else 0

    def consumed(self, size: int) -> bool:
        """The first half of `returned`: whether there is something to `announce`."""
        self.unconsumed -= size
        self._used += size
        return self.max_window_size - self.current_window_size - self.unconsumed >= self.max_window_size >> 2

    def announce(self, now: float, rtt: float | None, *, may_grow: bool = True, shared: bool = False) -> int:
        """The second half of `returned`: the increment."""
        increment = self.max_window_size - self.current_window_size - self.unconsumed
        if self._used >= self.max_window_size or now - self._used_since > _IDLE_SECONDS:
            self._adapt(now, rtt, may_grow, shared)
            increment = self.max_window_size - self.current_window_size - self.unconsumed
            if increment <= 0:
                return 0
        self.current_window_size += increment
        return increment

    def _adapt(self, now: float, rtt: float | None, may_grow: bool, shared: bool) -> None:
        elapsed = now - self._used_since
        if elapsed > _IDLE_SECONDS:
            self.max_window_size = min(self.max_window_size, self._first_size)
        elif may_grow and rtt is not None and elapsed < _limiting(rtt) * rtt and self.max_window_size < self.ceiling:
            self.max_window_size = min(2 * self.max_window_size, self.ceiling)
        elif shared and rtt is not None and rtt < _NEAR_SECONDS and elapsed > 8 * rtt:
            self.max_window_size = min(self.max_window_size, max(self.max_window_size >> 1, _LEAST_WINDOW))
        self._used = 0
        self._used_since = now


def _limiting(rtt: float) -> int:
    """The number of round trips within which a window that is used up limits its sender."""
    return 2 if rtt < _NEAR_SECONDS else 4


class Budget:
    """Bytes of memory that the receive buffers of all sessions of the process may take, and do."""

    __slots__ = ("limit", "used")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0

    @property
    def may_grow(self) -> bool:
        return self.used < self.limit >> 1

    @property
    def exhausted(self) -> bool:
        return self.used >= self.limit

    def refuses(self, *, reader: bool) -> bool:
        """Whether a stream whose peer has just sent more is to be reset. `reader`: its content is being read."""
        return self.used >= (self.limit + self.limit // 4 if reader else self.limit)
