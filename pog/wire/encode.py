"""A tunnel's payload as gRPC messages: small headers around the chunks, which are not copied."""

from __future__ import annotations

from struct import Struct

from pog.proto.grpcproxy_pb2 import HalfClose, Packet
from pog.wire.framing import framed

Chunk = bytes | memoryview

# grpc-go refuses messages over 4 MiB. A peer that collects whole messages begins sooner with smaller ones; this is one
# read of uvloop's.
MESSAGE_BYTES = 256 * 1024

_PAYLOAD_TAG = 0x0A
# Compressed flag, message length, tag of `payload`, and its length as one, two or three bytes of seven bits.
_PREFIX_1 = Struct(">BIBB").pack
_PREFIX_2 = Struct(">BIBBB").pack
_PREFIX_3 = Struct(">BIBBBB").pack


def prefix(size: int) -> bytes:
    """What goes before a payload of `size` bytes, 0 < size < 2 MiB."""
    if size < 1 << 7:
        return _PREFIX_1(0, size + 2, _PAYLOAD_TAG, size)
    if size < 1 << 14:
        return _PREFIX_2(0, size + 3, _PAYLOAD_TAG, size & 0x7F | 0x80, size >> 7)
    return _PREFIX_3(0, size + 4, _PAYLOAD_TAG, size & 0x7F | 0x80, size >> 7 & 0x7F | 0x80, size >> 14)


def payload(data: bytes | bytearray | memoryview) -> list[Chunk]:
    """The messages that carry `data`, as chunks to be written in order; none for no data."""
    size = len(data)
    if not size:
        return []
    if isinstance(data, bytearray):
        data = bytes(data)
    if size <= MESSAGE_BYTES:
        return [prefix(size), data]
    view = memoryview(data)
    chunks: list[Chunk] = []
    for start in range(0, size, MESSAGE_BYTES):
        piece = view[start : start + MESSAGE_BYTES]
        chunks += (prefix(len(piece)), piece)
    return chunks


def message(packet: Packet) -> bytes:
    """A whole packet as one gRPC message."""
    return framed(packet.SerializeToString())


HALF_CLOSE = message(Packet(half_close=HalfClose()))
