"""Content that waits: its order whatever the pieces, what it costs, and what is credited for it."""

from __future__ import annotations

import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from pog.http2.receive_buffer import ReceiveBuffer

CONTENT = st.lists(st.binary(min_size=1, max_size=9) | st.integers(1, 40_000).map(bytes), max_size=40)


@given(CONTENT, st.data())
def test_bytes_come_out_in_order_and_are_credited_once(pieces: list[bytes], data: st.DataObject) -> None:
    buffer, taken, credited = ReceiveBuffer(), b"", 0
    for piece in pieces:
        buffer.add(memoryview(piece))
        if data.draw(st.booleans()):
            credited += buffer.credit_ahead(data.draw(st.integers(0, 50_000)))
        if buffer.size and data.draw(st.booleans()):
            some, credit = buffer.take(data.draw(st.integers(1, buffer.size)))
            taken, credited = taken + some, credited + credit
        assert 0 <= buffer.credited <= buffer.size
    if buffer.size and data.draw(st.booleans()):
        first, credit = buffer.take_piece()
        credited += credit
        buffer.put_back(first)
    while buffer.size:
        chunk, credit = buffer.take_piece()
        taken, credited = taken + bytes(chunk), credited + credit
    assert taken == b"".join(pieces)
    assert credited == len(taken)


@given(CONTENT, st.integers(0, 50_000))
def test_what_is_dropped_is_credited_once(pieces: list[bytes], wanted: int) -> None:
    buffer = ReceiveBuffer()
    for piece in pieces:
        buffer.add(piece)
    ahead = buffer.credit_ahead(wanted)
    assert buffer.credit_ahead(wanted) == 0
    size, credit = buffer.clear()
    assert size == ahead + credit == sum(map(len, pieces))
    assert buffer.clear() == (0, 0)


def test_a_byte_at_a_time_costs_little_more_than_the_bytes() -> None:
    size = 200_000
    buffer = ReceiveBuffer()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for _ in range(size):
        buffer.add(b"x")
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert after - before < 2 * size
    assert buffer.take(size) == (b"x" * size, size)


def test_a_piece_that_was_begun_takes_nothing_in() -> None:
    buffer = ReceiveBuffer()
    buffer.add(b"ab")
    assert buffer.take(1) == (b"a", 1)
    buffer.add(b"c")
    buffer.add(b"d")
    assert [bytes(buffer.take_piece()[0]) for _ in range(2)] == [b"b", b"cd"]
