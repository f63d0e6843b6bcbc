"""A gRPC message as bytes: a compressed flag (one byte), its length (four), and the message itself. [pure]

PROTOCOL-HTTP2 of gRPC, «Length-Prefixed-Message».
"""

from __future__ import annotations

PREFIX_BYTES = 5

# What grpc-go takes in one message by default; a longer message is not collected in memory.
LARGEST_MESSAGE = 4 * 1024 * 1024


def framed(message: bytes) -> bytes:
    """The message with its prefix, not compressed."""
    return b"\0" + len(message).to_bytes(4, "big") + message


def message_length(prefix: bytes | bytearray | memoryview) -> int:
    """The length in a prefix; bytes behind the prefix are ignored."""
    return int.from_bytes(prefix[1:PREFIX_BYTES], "big")
