from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pog.wire.framing import PREFIX_BYTES, framed, message_length


@given(st.binary(max_size=70_000))
def test_a_message_behind_its_prefix(message: bytes) -> None:
    data = framed(message)
    assert (data[0], message_length(data), data[PREFIX_BYTES:]) == (0, len(message), message)


def test_the_length_is_four_bytes_in_network_order() -> None:
    assert framed(b"abc") == b"\0\0\0\0\3abc"
    assert message_length(b"\1\xff\0\0\1") == 0xFF000001
