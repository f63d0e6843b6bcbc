"""Header blocks from HEADERS and CONTINUATION frames (RFC 9113 sections 6.2 and 6.10). [pure]"""

from __future__ import annotations

from typing import NamedTuple

from h2.exceptions import DenialOfServiceError, FrameDataMissingError, ProtocolError

from pog.http2 import frames

# No header list that we would take has more parts (h2's own limit is 64).
_MOST_CONTINUATIONS = 16
PRIORITY_BYTES = 5


class HeaderBlock(NamedTuple):
    """A whole block. `depends_on` is the stream that its own is to depend on, 0 if the frame does not say."""

    stream_id: int
    data: bytes
    ends: bool
    depends_on: int


class HeaderBlocks:
    """Collects the parts of one block at a time; while `incomplete`, no other frame may come (section 6.2)."""

    __slots__ = ("_first", "_largest", "_parts", "incomplete")

    def __init__(self, largest: int) -> None:
        """`largest` is in bytes, as encoded."""
        self._largest = largest
        self._first = HeaderBlock(0, b"", False, 0)
        self._parts: list[bytes] = []
        self.incomplete = False

    def headers(self, flags: int, stream_id: int, body: bytes) -> HeaderBlock | None:
        """A HEADERS frame: the block, if the frame is all of it. Raises ProtocolError."""
        if not stream_id:
            raise ProtocolError("HEADERS on stream 0")
        depends_on = 0
        if flags & (frames.PADDED | frames.WITH_PRIORITY):
            body, depends_on = _without_padding_and_priority(flags, body)
        block = HeaderBlock(stream_id, body, bool(flags & frames.END_STREAM), depends_on)
        if flags & frames.END_HEADERS:
            return block
        self._first, self._parts, self.incomplete = block, [body], True
        return None

    def continuation(self, kind: int, flags: int, stream_id: int, body: bytes) -> HeaderBlock | None:
        """Any frame while the block is incomplete: the block, if this was its last part. Raises ProtocolError."""
        if kind != frames.CONTINUATION or stream_id != self._first.stream_id:
            raise ProtocolError("another frame inside a header block")
        parts = self._parts
        parts.append(body)
        if len(parts) > _MOST_CONTINUATIONS + 1 or sum(map(len, parts)) > self._largest:
            # Without this block the next one could not be decoded: to go on it would have to be taken in
            # (section 10.5.1).
            raise DenialOfServiceError("a header block over our limit")
        if not flags & frames.END_HEADERS:
            return None
        self._parts, self.incomplete = [], False
        return self._first._replace(data=b"".join(parts))


def _without_padding_and_priority(flags: int, body: bytes) -> tuple[bytes, int]:
    """The rest of a HEADERS frame, and the stream that it is to depend on."""
    start = padding = depends_on = 0
    if flags & frames.PADDED:
        if not body:
            raise FrameDataMissingError("HEADERS without the length of its padding")
        start, padding = 1, body[0]
    if flags & frames.WITH_PRIORITY:
        if len(body) < start + PRIORITY_BYTES:
            raise FrameDataMissingError("HEADERS without its priority")
        depends_on = dependency(body[start:])
        start += PRIORITY_BYTES
    if padding > len(body) - start:
        raise ProtocolError("HEADERS with more padding than content")
    return body[start : len(body) - padding], depends_on


def dependency(priority: bytes) -> int:
    """The stream that the five bytes of a priority name; the highest bit says something else (RFC 7540 section 6.3)."""
    return int(frames.unpack_number(priority[:4])[0]) & frames.LARGEST_STREAM_ID
