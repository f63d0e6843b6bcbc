"""A transport in memory whose outside is the test.

It keeps asyncio's contract as the event loops do, with their liberties: it may deliver a piece after pause_reading, and
may tell its end twice, as a socket does that is read again after it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_CYCLE = bytes(range(251))  # a prime number of bytes: no piece is a multiple of it


def content(start: int, size: int) -> bytes:
    """Bytes of which each says where it belongs."""
    start %= len(_CYCLE)
    return (_CYCLE * ((start + size) // len(_CYCLE) + 1))[start : start + size]


class Model(asyncio.Transport):
    """One end. A test plays what is outside: it lets bytes and ends arrive, and takes what was written."""

    def __init__(
        self, name: str, later: list[Callable[[], None]], *, high: int, low: int, bulk: int | None = None
    ) -> None:
        super().__init__()
        self.name = name
        self.later = later
        self._limits = self.high, self.low = high, low
        # A write of this size pauses the writer for a moment, whatever is buffered: as an HTTP/2 stream does.
        self.bulk = bulk
        self.protocol: asyncio.Protocol = asyncio.Protocol()
        self.reading = False
        self.may_spill = True
        self.delivered = 0
        self.end_arrived = False
        self.end_told = 0
        self.written = bytearray()
        self.taken = 0
        self.full = False
        self.eofs_written = 0
        self.closing = False
        self.lost = False
        self.lost_error: Exception | None = None

    # What is outside

    def arrive(self, size: int) -> None:
        """Bytes come. Unread they stay outside, but for one piece that was on its way."""
        if self.lost or self.closing or self.end_arrived or not (self.reading or self.may_spill):
            return
        self.may_spill = self.reading
        data = content(self.delivered, size)
        self.delivered += size
        self.protocol.data_received(data)

    def end(self) -> None:
        self.end_arrived = True
        self._tell_end()

    def _tell_end(self) -> None:
        if self.end_arrived and self.reading and not self.closing:
            self.end_told += 1
            assert self.protocol.eof_received(), "the other direction would be lost"

    def take(self, size: int) -> None:
        self.taken = min(self.taken + size, len(self.written))
        if self.full and not self.lost and self.get_write_buffer_size() <= self.low:
            self.full = False
            self.protocol.resume_writing()
        if self.closing and not self.get_write_buffer_size():
            self.later.append(lambda: self.lose(self.lost_error))

    def lose(self, error: Exception | None) -> None:
        if not self.lost:
            self.lost = self.closing = True
            self.lost_error = error
            self.protocol.connection_lost(error)

    # The protocol's transport

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        assert isinstance(protocol, asyncio.Protocol)
        self.protocol = protocol

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.lost, "uvloop raises"
        assert not self.eofs_written, "uvloop raises"
        if self.closing:
            return
        self.written += data
        if self.full:
            return
        if self.get_write_buffer_size() > self.high:
            self.full = True
            self.protocol.pause_writing()
        elif self.bulk is not None and len(data) >= self.bulk:
            self.full = True
            self.protocol.pause_writing()
            self.later.append(lambda: self.take(0))

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.eofs_written += 1

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        assert not self.closing
        self.high, self.low = self._limits if high is None else (high, high // 4 if low is None else low)
        if not self.full and self.get_write_buffer_size() > self.high:
            self.full = True
            self.protocol.pause_writing()

    def get_write_buffer_size(self) -> int:
        return len(self.written) - self.taken

    def pause_reading(self) -> None:
        assert not self.closing
        self.reading = False

    def resume_reading(self) -> None:
        assert not self.closing
        assert not self.end_told, "it would tell its end again"
        self.reading = self.may_spill = True
        self._tell_end()

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        if not self.closing:
            self.closing = True
            self.take(0)

    def abort(self) -> None:
        if not self.lost:
            self.closing = True
            self.later.append(lambda: self.lose(None))
