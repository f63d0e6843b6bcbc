"""Content that waits: its order whatever the pieces, and what it costs."""

from __future__ import annotations

import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from pog.http2.receive_buffer import ReceiveBuffer

CONTENT = st.lists(st.binary(min_size=1, max_size=9) | st.integers(1, 40_000).map(bytes), max_size=40)


@given(CONTENT, st.data())
def test_bytes_come_out_in_order_however_they_are_taken(pieces: list[bytes], data: st.DataObject) -> None:
    held, inside, given_out = ReceiveBuffer(), 0, b""
    for piece in pieces:
        held.add(memoryview(piece))
        inside += len(piece)
        if inside and data.draw(st.booleans()):
            size = data.draw(st.integers(1, inside))
            given_out += held.take(size)
            inside -= size
    if inside and data.draw(st.booleans()):
        piece = bytes(held.take_piece())
        held.add_first(piece)
    while inside:
        piece = bytes(held.take_piece())
        given_out += piece
        inside -= len(piece)
    assert given_out == b"".join(pieces)


def test_a_byte_at_a_time_costs_little_more_than_the_bytes() -> None:
    size = 200_000
    held = ReceiveBuffer()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for _ in range(size):
        held.add(b"x")
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert after - before < 2 * size
    assert held.take(size) == b"x" * size


def test_a_piece_that_was_begun_takes_nothing_in() -> None:
    held = ReceiveBuffer()
    held.add(b"ab")
    assert held.take(1) == b"a"
    held.add(b"c")
    held.add(b"d")
    assert [bytes(held.take_piece()) for _ in range(2)] == [b"b", b"cd"]
