"""Frames as bytes, RFC 9113 sections 4 and 6. [pure]"""

from __future__ import annotations

from struct import Struct

from hyperframe.frame import GoAwayFrame

DATA = 0x0
HEADERS = 0x1
PRIORITY = 0x2
RST_STREAM = 0x3
SETTINGS = 0x4
PUSH_PROMISE = 0x5
PING = 0x6
GOAWAY = 0x7
WINDOW_UPDATE = 0x8
CONTINUATION = 0x9

END_STREAM = 0x1
ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
WITH_PRIORITY = 0x20

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEADER_BYTES = 9
LARGEST_STREAM_ID = 2**31 - 1

# Length (8 high bits, 16 low bits), type, flags, stream identifier (its highest bit is reserved).
_HEADER = Struct(">BHBBL")
_HEADER_AND_NUMBER = Struct(">BHBBLL")
pack_header = _HEADER.pack
unpack_header = _HEADER.unpack_from
unpack_number = Struct(">L").unpack


def header(length: int, kind: int, flags: int, stream_id: int) -> bytes:
    return pack_header(length >> 16, length & 0xFFFF, kind, flags, stream_id)


def window_update(stream_id: int, increment: int) -> bytes:
    return _HEADER_AND_NUMBER.pack(0, 4, WINDOW_UPDATE, 0, stream_id, increment)


def rst_stream(stream_id: int, error_code: int) -> bytes:
    return _HEADER_AND_NUMBER.pack(0, 4, RST_STREAM, 0, stream_id, error_code)


def ping(data: bytes) -> bytes:
    return header(8, PING, 0, 0) + data


def settings_without_values() -> bytes:
    return header(0, SETTINGS, 0, 0)


def goaway(last_stream_id: int, error_code: int, debug: bytes = b"") -> bytes:
    frame = GoAwayFrame(0, last_stream_id=last_stream_id, error_code=error_code, additional_data=debug)
    return frame.serialize()


def headers(stream_id: int, block: bytes, largest: int, *, end_stream: bool) -> bytes:
    """A header block in one HEADERS frame, and in CONTINUATION frames where it is longer than `largest`."""
    flags = END_STREAM if end_stream else 0
    if len(block) <= largest:
        return header(len(block), HEADERS, flags | END_HEADERS, stream_id) + block
    parts = [block[start : start + largest] for start in range(0, len(block), largest)]
    frames = [header(len(parts[0]), HEADERS, flags, stream_id), parts[0]]
    for part in parts[1:-1]:
        frames += (header(len(part), CONTINUATION, 0, stream_id), part)
    frames += (header(len(parts[-1]), CONTINUATION, END_HEADERS, stream_id), parts[-1])
    return b"".join(frames)
