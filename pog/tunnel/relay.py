"""Joins a local socket and a tunnel: two one-way pumps with back pressure and half-close.

Both are asyncio transports, so the relay cannot tell them apart and has no task and no await per chunk: each gets a
protocol that forwards to the other one. The relay neither made the two nor knows what they did before or do after it.

1. Data that arrives at one is written to the other, as the same object.
2. When one has taken all it can hold (pause_writing), the other is no longer read, until it resumes. A tunnel that is
   not read returns no credit to its peer, so the stop reaches the far end.
3. The end of data at one is the end of writing at the other (half-close); the other direction goes on.
4. When one breaks, nothing more can be said to it. A broken tunnel resets the local socket at once, so that the user's
   program does not take a cut for an end. A broken socket ends the relay, and the tunnel's owner ends the call: the
   client with a reset, the server with a status that says why.

Each direction, from the end that is read to the other one, is in one of these states. A transport tells its protocol
only what changes, so the relay remembers of each end whether it is full and whether it has said its end.

    state     data           the other is full   it takes again        end                     lost
    -------   ------------   -----------------   -------------------   ---------------------   ----
    flowing   write it       stop reading:       -                     write the end:          over
                             stopped                                   ended
    stopped   write it (1)   -                   read on: flowing      write the end: ended    over
    ended     -              -                   -  (2)                -  (3)                  over

    start     writes `early`; then flowing, or stopped if that has filled the other end; or ended, or over

    (1) At most what was on its way: uvloop may deliver a piece after pause_reading.
    (2) A socket that is read again after its end tells the end again.
    (3) MessageTransport tells it for a half_close packet and again for the end of the call.

So what a direction holds is at most what the transports may hold before they pause, and one piece more. They count
bytes; where many small pieces come, the relay sees to it that a socket pauses by their number.

The relay as a whole is OPEN, HALF_CLOSED once one direction is ended, CLOSING once both are, then over. In CLOSING both
transports have been closed and send what they still hold; when both are lost without an error, the relay is DONE.
Whatever breaks in any state ends it at once; so does the limit of silence of that state.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from typing import TYPE_CHECKING

from pog.tunnel.ended import Ended, Reason, Side, State
from pog.tunnel.silence import Silence

if TYPE_CHECKING:
    from collections.abc import Callable

# SO_LINGER on, 0 seconds: close() sends RST (man 7 socket).
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
# A thousand pieces in a row of less than this on average are small.
_PIECES_PER_LOOK = 1000
_SMALL_BYTES = 64


class _End(asyncio.Protocol):
    """One end: what arrives here goes to the transport of the other end."""

    __slots__ = (
        "ended",
        "full",
        "lost",
        "other",
        "pieces_left",
        "received",
        "received_before",
        "relay",
        "side",
        "tight",
        "transport",
        "write",
    )

    other: _End

    def __init__(self, relay: Relay, transport: asyncio.Transport, side: Side) -> None:
        self.relay = relay
        self.transport = transport
        self.write = transport.write
        self.side = side
        self.received = 0
        self.ended = False
        self.full = False
        self.lost = False
        # Until the next look at their size, and the bytes at the last one.
        self.pieces_left = 0
        self.received_before = 0
        self.tight = False

    def data_received(self, data: bytes) -> None:
        if not self.pieces_left:
            self._look_at_pieces()
        self.pieces_left -= 1
        self.received += len(data)
        self.other.write(data)

    def _look_at_pieces(self) -> None:
        """For the first piece, and then for one in a thousand."""
        self.pieces_left = _PIECES_PER_LOOK
        if not self.received:
            self.relay._first_byte(self.side)
        elif self.received - self.received_before < _PIECES_PER_LOOK * _SMALL_BYTES:
            self.other.tighten()
        self.received_before = self.received

    def tighten(self) -> None:
        """Small pieces come here, and each that a socket has to keep costs uvloop a kilobyte: what waits now has to go
        before more is taken. The tunnels that join what waits take no such limit."""
        if not self.transport.is_closing() and self.transport.get_write_buffer_size():
            self.tight = True
            self.transport.set_write_buffer_limits(high=0)  # pauses at once

    def eof_received(self) -> bool:
        if not self.ended:
            self.ended = True
            self.relay._eof_received(self)
        # A user's TLS has no half-close in asyncio: it closes itself, and warns about a True.
        return self.side is Side.TUNNEL or self.transport.can_write_eof()

    def pause_writing(self) -> None:
        self.full = True
        other = self.other
        if not (other.ended or other.transport.is_closing()):
            other.transport.pause_reading()

    def resume_writing(self) -> None:
        self.full = False
        if self.tight:
            self.tight = False
            if not self.transport.is_closing():
                self.transport.set_write_buffer_limits()
        other = self.other
        if not (other.ended or other.transport.is_closing()):
            other.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self.write = _drop  # uvloop raises from then on, and the other end may still deliver
        self.relay._connection_lost(self, exc)


def _drop(data: bytes | bytearray | memoryview) -> None:
    """In the place of a lost transport's write."""


class Relay:
    """One tunnel at work, from `start` until `on_end` is called, which happens exactly once.

    `local` is the user's or the destination's socket. `idle_timeout` ends a tunnel in which no byte moved for this
    number of seconds (0: never); `half_close_timeout` the same once one direction has ended. `first_byte` gets the
    seconds from the first byte of one side, or from the start when the other one speaks first, to the first byte of
    `answerer`.
    """

    __slots__ = (
        "_answerer",
        "_asked_at",
        "_closing",
        "_first_byte_seen",
        "_half_close_timeout",
        "_idle_timeout",
        "_local",
        "_on_end",
        "_silence",
        "_tunnel",
        "ended",
        "first_byte",
    )

    def __init__(
        self,
        local: asyncio.Transport,
        tunnel: asyncio.Transport,
        *,
        idle_timeout: float,
        half_close_timeout: float,
        on_end: Callable[[Ended], None],
        answerer: Side = Side.TUNNEL,
        on_first_byte: Callable[[float], None] | None = None,
    ) -> None:
        self._local = _End(self, local, Side.LOCAL)
        self._tunnel = _End(self, tunnel, Side.TUNNEL)
        self._local.other, self._tunnel.other = self._tunnel, self._local
        self._idle_timeout = idle_timeout
        self._half_close_timeout = half_close_timeout
        self._on_end = on_end
        self._answerer = answerer
        self._first_byte_seen = on_first_byte
        self._asked_at = time.perf_counter()
        self.first_byte: float | None = None
        self._silence = Silence(self)
        self._closing: Side | None = None
        self.ended: Ended | None = None

    def start(self, early: bytes = b"", *, sent: int = 0, ended: bool = False, lost: Exception | None = None) -> None:
        """Begins to pump. What the local socket did before: it sent `early`, it `ended`, or it was `lost`. `sent` is
        the number of bytes from it that are in the tunnel already."""
        self._silence.watch(self._idle_timeout, Reason.IDLE)
        self._local.transport.set_protocol(self._local)
        self._tunnel.transport.set_protocol(self._tunnel)
        if sent:
            self._first_byte(Side.LOCAL)
            self._local.received = sent
        if early:
            self._local.data_received(early)
        if ended:
            self._local.eof_received()
        if lost is not None:
            self._local.connection_lost(lost)
        elif not (ended or self._tunnel.full or self._local.transport.is_closing()):
            self._local.transport.resume_reading()

    def replace_local(self, local: asyncio.Transport) -> None:
        """The local end is another transport from here on; whether it is full is what the one before said last."""
        end = self._local
        end.transport, end.write = local, local.write
        local.set_protocol(end)
        if self._tunnel.full:
            local.pause_reading()

    def stop(self, reason: Reason = Reason.STOPPED, error: Exception | None = None) -> None:
        """Ends the relay now: the local socket is reset, the tunnel is left to its owner."""
        reset(self._local.transport)
        self._end(reason, Side.RELAY, error)

    @property
    def state(self) -> State:
        if self._closing is not None:
            return State.CLOSING
        return State.HALF_CLOSED if self._local.ended or self._tunnel.ended else State.OPEN

    @property
    def from_local(self) -> int:
        """Bytes that arrived from the local socket so far."""
        return self._local.received

    @property
    def from_tunnel(self) -> int:
        """Bytes that arrived from the tunnel so far."""
        return self._tunnel.received

    def progress(self) -> tuple[int, int, int]:
        """What changes while bytes move: the count, and what a slow reader at either end has still to take."""
        local, tunnel = self._local, self._tunnel
        return (
            local.received + tunnel.received,
            local.transport.get_write_buffer_size(),
            tunnel.transport.get_write_buffer_size(),
        )

    def _first_byte(self, side: Side) -> None:
        now = time.perf_counter()
        if side is self._answerer:
            self.first_byte = now - self._asked_at
            if self._first_byte_seen is not None:
                self._first_byte_seen(self.first_byte)
        elif self.first_byte is None:
            self._asked_at = now

    def _eof_received(self, end: _End) -> None:
        if self._closing is not None or self.ended is not None:
            return
        other = end.other
        if other.ended or not other.transport.can_write_eof():
            self._close(other.side if other.ended else end.side)
            return
        if not other.transport.is_closing():
            other.transport.write_eof()
        self._silence.watch(self._half_close_timeout, Reason.HALF_CLOSED)

    def _connection_lost(self, end: _End, exc: Exception | None) -> None:
        if self.ended is not None:
            return
        if exc is not None:
            if end.side is Side.TUNNEL:
                reset(self._local.transport)
            self._end(Reason.RESET, end.side, exc)
            return
        if self._closing is None:
            self._close(end.side)
        if self._local.lost and self._tunnel.lost:
            self._end(Reason.DONE, self._closing or end.side, None)

    def _close(self, side: Side) -> None:
        """Both directions are done: what is still buffered goes out, then the ends close; a reader, at either end, that
        takes nothing for the half-close limit is cut."""
        self._closing = side
        self._silence.watch(self._half_close_timeout, Reason.HALF_CLOSED)
        self._local.transport.close()
        self._tunnel.transport.close()

    def _end(self, reason: Reason, side: Side, error: Exception | None) -> None:
        if self.ended is not None:
            return
        self._silence.cancel()
        self.ended = Ended(reason, side, error, self._local.received, self._tunnel.received)
        self._on_end(self.ended)


def reset(transport: asyncio.Transport) -> None:
    """Closes a socket's transport at once with a TCP reset; what it still held is dropped."""
    sock: socket.socket | None = transport.get_extra_info("socket")
    if sock is not None and sock.family != socket.AF_UNIX and not transport.is_closing():
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    transport.abort()
