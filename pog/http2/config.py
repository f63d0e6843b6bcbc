"""What one connection is set up with."""

from __future__ import annotations

from dataclasses import dataclass

from pog.http2.windows import CONNECTION_WINDOW, KIB, READER_WINDOW, STREAM_WINDOW, STREAM_WINDOW_CEILING

# A piece of this size, read or written at once, is part of a bulk transfer: whoever has more waits for the loop's next
# pass, so that the others are served in between.
BULK_BYTES = 64 * KIB

# How long a server waits for a call's first message, and for the rest of one that has begun; seconds.
MESSAGE_TIMEOUT = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionConfig:
    """Sizes in bytes. Windows: see windows.py. `max_concurrent_streams` is what a server allows its client."""

    stream_window: int = STREAM_WINDOW
    reader_window: int = READER_WINDOW
    stream_window_ceiling: int = STREAM_WINDOW_CEILING
    connection_window: int = CONNECTION_WINDOW
    # Larger frames are fewer; the sender decides how large, and cuts them smaller when streams compete.
    max_frame_size: int = 256 * KIB
    max_header_list_size: int = 64 * KIB
    # Of one message: what Apache and Envoy take, and haproxy nearly.
    max_header_fields: int = 100
    max_concurrent_streams: int = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionConfig(ConnectionConfig):
    """Times in seconds.

    `keepalive`: a connection with streams that has been silent for so long is probed (0: never); without an answer
    within `keepalive_timeout` it is given up. `linger`: how long a stream whose end has been said, or whose writer
    waits, may send nothing of what it has to send. `message_timeout`: how long a server waits for a call's first
    message, and for the rest of one that has begun. `settings_timeout`: by then the peer must have begun to speak
    HTTP/2. `idle`: a server ends a connection that had no stream for so long. The write marks are bytes that one
    stream may have waiting before its writer is paused, and resumed.
    """

    keepalive: float = 30.0
    keepalive_timeout: float = 15.0
    linger: float = 60.0
    message_timeout: float = MESSAGE_TIMEOUT
    settings_timeout: float = 10.0
    # Our client gives a connection up by its age in less than an hour; a front keeps it while it is of use.
    idle: float = 900.0
    write_high: int = 256 * KIB
    write_low: int = 64 * KIB
    # What may wait in the transport, and unsent in the kernel: little, so that a stream that has just become ready
    # does not wait behind what another one put there before.
    transport_high: int = 128 * KIB
    unsent_high: int = 128 * KIB
