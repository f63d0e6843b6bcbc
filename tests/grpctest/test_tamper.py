"""What faults do to frames, byte by byte and at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pog.grpctest.tamper import Tamper
from pog.http2 import frames

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

HEAD = frames.header(3, frames.HEADERS, frames.END_HEADERS, 1) + b"abc"
PART = frames.header(3, frames.HEADERS, 0, 1) + b"abc"
REST = frames.header(3, frames.CONTINUATION, frames.END_HEADERS, 1) + b"def"
DATA = frames.header(5, 0, 0, 1) + b"12345"
ACK = frames.header(0, frames.SETTINGS, frames.ACK, 0)
SETTINGS = frames.header(12, frames.SETTINGS, 0, 0) + bytes.fromhex("000400010000000600004000")

CUTS = pytest.mark.parametrize("size", [1, 7, 1000])


def through(way: Callable[[bytes], bytes], data: bytes, size: int) -> bytes:
    """What comes out when `data` goes in, in pieces of `size`."""
    return b"".join(way(data[start : start + size]) for start in range(0, len(data), size))


def stream(kind: int, flags: int, stream_id: int, body: bytes = b"abc") -> bytes:
    return frames.header(len(body), kind, flags, stream_id) + body


def settings(values: Iterable[tuple[int, int]]) -> bytes:
    body = b"".join(key.to_bytes(2, "big") + value.to_bytes(4, "big") for key, value in values)
    return frames.header(len(body), frames.SETTINGS, 0, 0) + body


@CUTS
def test_without_faults_everything_passes(size: int) -> None:
    tamper = Tamper()
    up = frames.PREFACE + SETTINGS + HEAD + DATA + ACK
    down = SETTINGS + ACK + PART + REST + DATA + frames.window_update(0, 10) + frames.window_update(1, 10)
    assert through(tamper.up, up, size) == up
    assert through(tamper.down, down, size) == down


@CUTS
@pytest.mark.parametrize("first", [b"GET / HTTP/1.1\r\n\r\n", b"PRI * HTTP/1.0\r\n\r\n", b"\x16\x03\x01"])
def test_what_is_not_http2_passes_as_it_is(size: int, first: bytes) -> None:
    tamper = Tamper(window=0, max_concurrent_streams=1)
    assert through(tamper.up, first + DATA, size) == first + DATA
    assert through(tamper.down, b"HTTP/1.1 200 OK\r\n\r\n" + SETTINGS, size) == b"HTTP/1.1 200 OK\r\n\r\n" + SETTINGS
    assert tamper.go_away(0, None) == b""


@CUTS
def test_settings_are_changed_and_kept_beside(size: int) -> None:
    tamper = Tamper(window=7, max_concurrent_streams=1)
    assert through(tamper.down, SETTINGS + ACK, size) == settings([(4, 7), (6, 0x4000), (3, 1)]) + ACK
    assert through(Tamper(max_concurrent_streams=5).down, settings([(3, 100)]), size) == settings([(3, 5)])
    assert through(tamper.up, frames.PREFACE + SETTINGS, size) == frames.PREFACE + SETTINGS


@CUTS
def test_a_shut_window_takes_no_credit_for_streams(size: int) -> None:
    whole, stream_credit = frames.window_update(0, 10), frames.window_update(3, 10)
    assert through(Tamper(window=0).down, stream_credit + whole + stream_credit, size) == whole


@CUTS
def test_goaway_names_the_last_stream_and_shuts_out_those_above(size: int) -> None:
    tamper = Tamper()
    first, third = stream(frames.HEADERS, 4, 1), stream(frames.HEADERS, 4, 3)
    through(tamper.up, frames.PREFACE + first + third, size)
    assert tamper.go_away(0, None) == frames.goaway(3, 0)
    late = stream(frames.HEADERS, 4, 5) + stream(0, 0, 5) + frames.rst_stream(5, 8)
    assert through(tamper.up, stream(0, 0, 3) + late + ACK, size) == stream(0, 0, 3) + ACK
    assert tamper.go_away(0, None) == frames.goaway(3, 0)
    assert tamper.go_away(11, 1) == frames.goaway(1, 11)
    assert through(tamper.up, stream(0, 0, 3) + stream(0, 0, 1), size) == stream(0, 0, 1)


@CUTS
def test_goaway_waits_for_the_end_of_a_header_block(size: int) -> None:
    tamper = Tamper()
    assert through(tamper.down, PART, size) == PART
    assert tamper.go_away(0, None) == b""
    assert through(tamper.down, REST + DATA, size) == REST + frames.goaway(0, 0) + DATA


def test_a_frame_is_passed_on_when_it_is_whole() -> None:
    tamper = Tamper()
    assert tamper.down(DATA[:-1]) == b""
    assert tamper.down(DATA[-1:] + ACK[:4]) == DATA
    assert tamper.go_away(0, None) == frames.goaway(0, 0)
    assert tamper.down(ACK[4:]) == ACK
