"""Frames as bytes, legal and not, and two ways to read what a connection did."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hpack import Encoder, NeverIndexedHeaderTuple
from hyperframe.frame import Frame, RstStreamFrame, WindowUpdateFrame

from pog.http2 import frames

if TYPE_CHECKING:
    from collections.abc import Iterable

Headers = list[tuple[str, str]]

REQUEST: Headers = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/HTTPProxy/Run"),
    (":authority", "exit:8080"),
    ("content-type", "application/grpc"),
    ("te", "trailers"),
]
RESPONSE: Headers = [(":status", "200"), ("content-type", "application/grpc")]
TRAILERS: Headers = [("grpc-status", "0")]


def frame(kind: int, flags: int, stream_id: int, body: bytes = b"") -> bytes:
    return frames.header(len(body), kind, flags, stream_id) + body


def block(fields: Iterable[tuple[str, str]]) -> bytes:
    """A header block that leaves no trace in the dynamic table."""
    return Encoder().encode([NeverIndexedHeaderTuple(name.encode(), value.encode()) for name, value in fields])


def headers(stream_id: int, fields: Headers = REQUEST, *, end_stream: bool = False) -> bytes:
    flags = frames.END_HEADERS | (frames.END_STREAM if end_stream else 0)
    return frame(frames.HEADERS, flags, stream_id, block(fields))


def data(stream_id: int, content: bytes, *, end_stream: bool = False, padding: int | None = None) -> bytes:
    flags = frames.END_STREAM if end_stream else 0
    if padding is not None:
        return frame(frames.DATA, flags | frames.PADDED, stream_id, bytes([padding]) + content + bytes(padding))
    return frame(frames.DATA, flags, stream_id, content)


def rst_stream(stream_id: int, code: int = 8) -> bytes:
    return frames.rst_stream(stream_id, code)


def window_update(stream_id: int, increment: int) -> bytes:
    return frame(frames.WINDOW_UPDATE, 0, stream_id, increment.to_bytes(4, "big"))


def settings(values: dict[int, int] | None = None, *, ack: bool = False) -> bytes:
    body = b"".join(key.to_bytes(2, "big") + value.to_bytes(4, "big") for key, value in (values or {}).items())
    return frame(frames.SETTINGS, frames.ACK if ack else 0, 0, body)


def parse(output: bytes) -> list[Frame]:
    """The frames of what a connection sent."""
    output = output.removeprefix(frames.PREFACE)
    parsed = []
    while output:
        each, length = Frame.parse_frame_header(memoryview(output[:9]))
        each.parse_body(memoryview(output[9 : 9 + length]))
        parsed.append(each)
        output = output[9 + length :]
    return parsed


def increments(output: bytes, stream_id: int) -> int:
    """How much was given back on one stream, or on the connection (0)."""
    return sum(
        each.window_increment
        for each in parse(output)
        if isinstance(each, WindowUpdateFrame) and each.stream_id == stream_id
    )


def resets(output: bytes) -> list[tuple[int, int]]:
    """The streams that were reset, with their codes."""
    return [(each.stream_id, int(each.error_code)) for each in parse(output) if isinstance(each, RstStreamFrame)]
