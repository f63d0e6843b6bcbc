"""What one connection is set up with. [pure]"""

from __future__ import annotations

from dataclasses import dataclass

from pog.http2.windows import CONNECTION_WINDOW, KIB, READER_WINDOW, STREAM_WINDOW, STREAM_WINDOW_CEILING

# A piece of this size, read or written at once, is part of a bulk transfer: the rest of it waits for the loop's next
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

    `keepalive`: the silence after which a connection with streams is probed (0: never); without an answer within
    `keepalive_timeout` it is closed. `linger`: how long a stream that has ended, or whose writer waits, may make no
    progress with what it has to send. `message_timeout`: how long a server waits for a call's first message, and for
    the rest of one that has begun. `settings_timeout`: how long for the peer's first SETTINGS. `idle`: the time without
    a stream after which a server ends a connection. A stream's writer is paused when more than `write_high` bytes wait,
    and resumed at `write_low`.
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
