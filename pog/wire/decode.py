"""gRPC messages that hold Packets, read as they arrive.

The usual message is a payload and nothing else: five bytes of gRPC, a tag, a length that fills the message to its end,
then the user's bytes. Its bytes are passed on as slices of what was received, without waiting for the end. Whatever
else protobuf allows (unknown fields, a oneof set twice, lengths written longer than needed in odd places) is collected
and given to its parser; the result is the same, only later.
"""

from __future__ import annotations

from google.protobuf.message import DecodeError

from pog.errors import ProtocolViolation
from pog.proto.grpcproxy_pb2 import Packet
from pog.wire.encode import prefix
from pog.wire.framing import LARGEST_MESSAGE, PREFIX_BYTES, message_length

Chunk = bytes | memoryview

_PAYLOAD_TAG = 0x0A
# Protobuf reads the length of a field from at most five bytes.
_LENGTH_BYTES = 5
_HEAD_BYTES = PREFIX_BYTES + 1 + _LENGTH_BYTES
# Before a payload of up to 127 bytes.
_SHORT_HEAD = PREFIX_BYTES + 2


class Decoder:
    """Feed it what arrives, in any pieces. After an error it stays broken and raises the same again."""

    __slots__ = ("_collected", "_error", "_head", "_left", "_missing")

    def __init__(self) -> None:
        # Bytes of the present payload that are still to come.
        self._left = 0
        # The beginning of a message, while it does not yet say what the message is.
        self._head = b""
        # A message that goes to the parser, and how many bytes of it are missing.
        self._collected: bytearray | None = None
        self._missing = 0
        self._error: ProtocolViolation | None = None

    @property
    def between_messages(self) -> bool:
        """Whether the end may come now without cutting a message short."""
        return not self._left and not self._head and self._collected is None

    def feed(self, data: Chunk) -> list[Chunk | Packet]:
        """Pieces of payload, and packets that are no payload, in order.

        Raises ProtocolViolation for a packet without a member, a message that is compressed or malformed, or one over
        4 MiB that has to be collected.
        """
        size = len(data)
        if self._left >= size > 0:
            self._left -= size
            return [data]
        if self._error is not None:
            raise self._error
        if _SHORT_HEAD < size <= _SHORT_HEAD + 127 and data[:_SHORT_HEAD] == prefix(size - _SHORT_HEAD):
            if self.between_messages:
                return [data[_SHORT_HEAD:]]  # a keystroke
        try:
            return self._feed(data, size)
        except ProtocolViolation as error:
            self._error = error
            raise

    def _feed(self, data: Chunk, size: int) -> list[Chunk | Packet]:
        items: list[Chunk | Packet] = []
        view = memoryview(data)
        pos = 0
        while pos < size:
            if self._left:
                count = min(self._left, size - pos)
                items.append(view[pos : pos + count])
                self._left -= count
                pos += count
            elif self._collected is not None:
                count = min(self._missing, size - pos)
                self._collect(view[pos : pos + count], items)
                pos += count
            else:
                known = len(self._head)
                head = self._head + bytes(view[pos : pos + _HEAD_BYTES - known])
                used = self._open(head, items)
                if not used:
                    self._head = head
                    break
                self._head = b""
                pos += used - known
        return items

    def _open(self, head: bytes, items: list[Chunk | Packet]) -> int:
        """Begins a message; returns the bytes of `head` that were used, 0 when they do not yet say enough."""
        if len(head) < PREFIX_BYTES:
            return 0
        if head[0]:
            raise ProtocolViolation("a compressed gRPC message, though no compression was agreed")
        length = message_length(head)
        if not length:
            raise _wrong_packet()
        if len(head) == PREFIX_BYTES:
            return 0
        if head[PREFIX_BYTES] == _PAYLOAD_TAG and length <= 0x7FFFFFFF:
            size = 0
            for index in range(_LENGTH_BYTES):
                at = PREFIX_BYTES + 1 + index
                if index + 2 > length:
                    break
                if at == len(head):
                    return 0
                size |= (head[at] & 0x7F) << 7 * index
                if head[at] < 0x80:
                    if size and index + 2 + size == length:
                        self._left = size
                        return at + 1
                    break
        if length > LARGEST_MESSAGE:
            raise ProtocolViolation(f"a gRPC message of {length} bytes; the limit is {LARGEST_MESSAGE}")
        begun = head[PREFIX_BYTES : PREFIX_BYTES + length]
        self._collected = bytearray()
        self._missing = length
        self._collect(begun, items)
        return PREFIX_BYTES + len(begun)

    def _collect(self, data: Chunk, items: list[Chunk | Packet]) -> None:
        assert self._collected is not None
        self._collected += data
        self._missing -= len(data)
        if self._missing:
            return
        body, self._collected = bytes(self._collected), None
        try:
            packet = Packet.FromString(body)
        except DecodeError as error:
            raise ProtocolViolation(f"a gRPC message that is no Packet: {error}") from error
        kind = packet.WhichOneof("union")
        if kind is None:
            raise _wrong_packet()
        if kind != "payload":
            items.append(packet)
        elif packet.payload:
            items.append(packet.payload)


def _wrong_packet() -> ProtocolViolation:
    return ProtocolViolation("got wrong packet type: a packet without a member")
