from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pog.proto.grpcproxy_pb2 import HalfClose, Packet
from pog.wire import encode


def messages(data: bytes) -> list[Packet]:
    """What a peer reads, by protobuf's own parser."""
    packets = []
    while data:
        assert data[0] == 0
        length = int.from_bytes(data[1:5], "big")
        packets.append(Packet.FromString(data[5 : 5 + length]))
        data = data[5 + length :]
    return packets


@pytest.mark.parametrize("size", [1, 2, 127, 128, 129, 16383, 16384, 16385, encode.MESSAGE_BYTES])
def test_a_payload_is_the_message_that_protobuf_would_write(size: int) -> None:
    data = bytes(range(256)) * (size // 256) + bytes(size % 256)
    assert b"".join(encode.payload(data)) == encode.message(Packet(payload=data))


@given(st.integers(min_value=1, max_value=3 * encode.MESSAGE_BYTES + 5))
def test_large_data_becomes_several_messages_and_no_empty_one(size: int) -> None:
    data = bytes(size)
    packets = messages(b"".join(encode.payload(data)))
    assert [packet.WhichOneof("union") for packet in packets] == ["payload"] * len(packets)
    assert all(0 < len(packet.payload) <= encode.MESSAGE_BYTES for packet in packets)
    assert sum(len(packet.payload) for packet in packets) == size


def test_the_chunk_is_not_copied() -> None:
    data = bytes(1000)
    assert encode.payload(data)[1] is data


def test_nothing_is_no_message() -> None:
    assert encode.payload(b"") == []


def test_a_buffer_that_may_change_is_copied() -> None:
    data = bytearray(b"abc")
    chunks = encode.payload(data)
    data[:] = b"xyz"
    assert messages(b"".join(chunks)) == [Packet(payload=b"abc")]


def test_half_close_is_a_packet() -> None:
    assert messages(encode.HALF_CLOSE) == [Packet(half_close=HalfClose())]
