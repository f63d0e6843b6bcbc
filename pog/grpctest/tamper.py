"""What faults do to the frames of one HTTP/2 connection. [pure]

Strategy: both directions are cut into whole frames, which are passed on, changed, dropped or added to. Header blocks
are never dropped on their way to the client and never read, so both ends' compression stays in step. What is not
HTTP/2 (a page over HTTP/1.1) is passed on as it is.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from pog.http2 import frames

if TYPE_CHECKING:
    from collections.abc import Iterator

# RFC 9113 section 6.5.2.
_MAX_CONCURRENT_STREAMS = 0x3
_INITIAL_WINDOW_SIZE = 0x4
_SETTING = struct.Struct(">HL")


class Tamper:
    """One connection between a client and a server.

    `window`: what the client may send on a stream, in bytes, and never more. `max_concurrent_streams`: what the server
    is made to announce. None leaves either as it is.
    """

    def __init__(self, window: int | None = None, max_concurrent_streams: int | None = None) -> None:
        self.window = window
        self.max_concurrent_streams = max_concurrent_streams
        self._up = _Splitter(preface=frames.PREFACE)
        self._down = _Splitter()
        self._highest_stream = 0
        self._last_stream = frames.LARGEST_STREAM_ID
        self._in_header_block = False
        self._waiting = b""

    def up(self, data: bytes) -> bytes:
        """What the client sent, as it goes to the server."""
        return b"".join(frame for frame in self._up.feed(data) if self._passes_up(frame))

    def down(self, data: bytes) -> bytes:
        """What the server sent, as it goes to the client."""
        if self._up.raw:
            self._down.raw = True
        return b"".join(self._tampered(frame) for frame in self._down.feed(data))

    def go_away(self, code: int, last_stream: int | None) -> bytes:
        """A GOAWAY, to be sent to the client now; none when it has to wait for the end of a header block.

        Streams above `last_stream` (by default the highest there is) do not reach the server from here on.
        """
        if self._up.raw:
            return b""
        self._last_stream = self._highest_stream if last_stream is None else last_stream
        frame = frames.goaway(self._last_stream, code)
        if self._in_header_block:
            self._waiting += frame
            return b""
        return frame

    def _passes_up(self, frame: bytes) -> bool:
        if frame == frames.PREFACE or self._up.raw:
            return True
        kind, stream = frame[3], _stream(frame)
        if kind == frames.HEADERS and stream <= self._last_stream:
            self._highest_stream = max(self._highest_stream, stream)
        return stream <= self._last_stream

    def _tampered(self, frame: bytes) -> bytes:
        if self._down.raw:
            return frame
        kind, flags = frame[3], frame[4]
        if kind == frames.SETTINGS and not flags & frames.ACK:
            return self._settings(frame)
        if kind == frames.WINDOW_UPDATE and _stream(frame) and self.window is not None:
            return b""
        if kind in (frames.HEADERS, frames.CONTINUATION):
            self._in_header_block = not flags & frames.END_HEADERS
        if self._waiting and not self._in_header_block:
            frame, self._waiting = frame + self._waiting, b""
        return frame

    def _settings(self, frame: bytes) -> bytes:
        values = dict(_SETTING.iter_unpack(frame[frames.HEADER_BYTES :]))
        if self.max_concurrent_streams is not None:
            values[_MAX_CONCURRENT_STREAMS] = self.max_concurrent_streams
        if self.window is not None:
            values[_INITIAL_WINDOW_SIZE] = self.window
        body = b"".join(_SETTING.pack(key, value) for key, value in values.items())
        return frames.header(len(body), frames.SETTINGS, 0, 0) + body


class _Splitter:
    """Bytes in, whole frames out; the preface counts as one. `raw`: it is no HTTP/2, and bytes come out as they are."""

    def __init__(self, preface: bytes = b"") -> None:
        self.raw = False
        self._preface = preface
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        self._buffer += data
        if self._preface and not self._take_preface():
            return
        if self.raw:
            rest = bytes(self._buffer)
            self._buffer.clear()
            yield rest
            return
        if self._preface:
            yield self._preface
            self._preface = b""
        while len(self._buffer) >= frames.HEADER_BYTES:
            end = frames.HEADER_BYTES + int.from_bytes(self._buffer[:3], "big")
            if len(self._buffer) < end:
                return
            frame = bytes(self._buffer[:end])
            del self._buffer[:end]
            yield frame

    def _take_preface(self) -> bool:
        """Whether it is known how the connection begins."""
        head = self._buffer[: len(self._preface)]
        if not self._preface.startswith(head):
            self.raw, self._preface = True, b""
        elif len(head) == len(self._preface):
            del self._buffer[: len(head)]
        else:
            return False
        return True


def _stream(frame: bytes) -> int:
    return int.from_bytes(frame[5:9], "big") & frames.LARGEST_STREAM_ID
