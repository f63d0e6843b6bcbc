"""Where the content of an HTTP/1 message ends, found while it passes. [pure]

Nothing is collected: a piece in the middle of a content comes out as the same object. Of a chunked content only what
decides something is held until it is complete and found right, at most 64 KiB: the line with the size of a chunk, and
the end with its trailer section. The chunks themselves pass as the sender cut them.

Strict, for two programs must not disagree about where a message ends: a chunk's size is 1 to 16 hexadecimal digits
without sign, "0x" or "_", its line and its data end with CRLF and nothing else (RFC 9112 section 7.1), an extension is
printable ASCII.
"""

from __future__ import annotations

import re
from typing import Protocol

from pog.front.heads import MAX_HEAD_BYTES, Malformed, read_trailers

# What comes down a tunnel are views of what was read from it.
Chunk = bytes | memoryview

# RFC 9112 section 7.1.1 leaves extensions to the two ends; nobody is known to use them.
_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;[\t\x20-\x7e]*)?\r\n")
_MAX_SIZE_LINE = 1024
_BARE_LF = re.compile(rb"(?<!\r)\n")
# The largest size that a signed integer of 64 bits can hold, less the line end that is counted with it.
_MAX_SIZE = 2**63 - 3
# RFC 9110 section 6.5.1: no field of framing, routing, authentication or content format belongs into a trailer section.
_NOT_A_TRAILER = frozenset(
    b"connection content-encoding content-length content-range content-type host keep-alive proxy-authenticate "
    b"proxy-authentication-info proxy-authorization proxy-connection set-cookie te trailer transfer-encoding "
    b"upgrade www-authenticate authorization cookie expect max-forwards".split()
)


class Body(Protocol):
    """The content of one message, from behind its head."""

    @property
    def complete(self) -> bool:
        """Whether all of it has passed."""

    def receive_data(self, data: Chunk) -> tuple[Chunk, bytes]:
        """What passes on, and what lies behind the end of the message. Raises Malformed."""

    def receive_eof(self) -> None:
        """The sender is done. Raises Malformed when its message was not."""


class Counted:
    """A content of known length."""

    __slots__ = ("_left", "complete")

    def __init__(self, length: int) -> None:
        self._left = length
        self.complete = length == 0

    def receive_data(self, data: Chunk) -> tuple[Chunk, bytes]:
        end, self._left = self._left, self._left - len(data)
        if self._left > 0:
            return data, b""
        self.complete = True
        if self._left == 0:
            return data, b""
        self._left = 0
        return data[:end], bytes(data[end:])

    def receive_eof(self) -> None:
        if not self.complete:
            raise Malformed(f"{self._left} bytes of the content are missing")


class UntilEnd:
    """A content that ends with the connection."""

    __slots__ = ("complete",)

    def __init__(self) -> None:
        self.complete = False

    def receive_data(self, data: Chunk) -> tuple[Chunk, bytes]:
        return data, b""

    def receive_eof(self) -> None:
        self.complete = True


class Chunked:
    """A content in chunks. With `decoded`, only what is in them passes: for a receiver that knows no chunks.

    `left` says where it is:

        more than 2    inside a chunk, whose CRLF is counted with it
        2 or 1         before the CRLF behind a chunk, or before its LF
        0              before the line with the size of a chunk; the last one and the trailer section count as one line
    """

    __slots__ = ("_decoded", "_held", "_left", "_trailers", "complete")

    def __init__(self, *, decoded: bool = False) -> None:
        self._decoded = decoded
        self._held = b""
        self._left = 0
        # Where the trailer section begins, and what passes in its place.
        self._trailers: tuple[int, bytes] | None = None
        self.complete = False

    def receive_data(self, data: Chunk) -> tuple[bytes, bytes]:
        data = bytes(data)
        if self.complete:
            return b"", data
        if self._held:
            data, self._held = self._held + data, b""
        chunks: list[bytes] = []
        position = 0
        while position < len(data) and not self.complete:
            start = position
            position = self._line(data, start) if self._left == 0 else self._chunk(data, start, chunks)
            if position == start:
                self._held = data[start:]
                break
        if self._decoded:
            return b"".join(chunks), data[position:] if self.complete else b""
        if self._trailers is not None:
            at, trailers = self._trailers
            return data[:at] + trailers, data[position:]
        return data[:position], data[position:] if self.complete else b""

    def receive_eof(self) -> None:
        if not self.complete:
            raise Malformed("the last chunk is missing")

    def _chunk(self, data: bytes, start: int, chunks: list[bytes]) -> int:
        end = min(start + self._left - 2, len(data))
        if end > start:
            if self._decoded:
                chunks.append(data[start:end])
        elif data[start] == b"\r\n"[-self._left]:
            end = start + 1
        else:
            raise Malformed("a chunk is longer than its size")
        self._left -= end - start
        return end

    def _line(self, data: bytes, start: int) -> int:
        line = _SIZE_LINE.match(data, start, start + _MAX_SIZE_LINE)
        if line is None:
            if len(data) - start >= _MAX_SIZE_LINE or b"\n" in data[start:]:
                raise Malformed("malformed size of a chunk")
            return start
        size = int(line[1], 16)
        if size > _MAX_SIZE:
            raise Malformed("a chunk is too large")
        if size == 0:
            return self._last_line(data, start, line.end())
        self._left = size + 2
        return line.end()

    def _last_line(self, data: bytes, start: int, end: int) -> int:
        """`end` is the end of the line with the size 0."""
        if data.startswith(b"\r\n", end):
            self.complete = True
            return end + 2
        limit = end + MAX_HEAD_BYTES
        empty = data.find(b"\r\n\r\n", end, limit)
        if empty < 0:
            if len(data) >= limit:
                raise Malformed("the trailer section is too long", 431)
            if _BARE_LF.search(data, end) is not None:
                raise Malformed("a control character in the trailer section")
            return start
        lines = [
            b"%b: %b\r\n" % (name, value)
            for lower, name, value in read_trailers(data[end : empty + 2])
            if lower not in _NOT_A_TRAILER
        ]
        self._trailers = end, b"".join((*lines, b"\r\n"))
        self.complete = True
        return empty + 4
