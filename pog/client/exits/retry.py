"""A tunnel's transport that sends the user's first flight again through another exit, while nothing has come down.

    state     what the user sends          what comes from the exit
    FLIGHT    goes up, and is kept, up     a byte: THROUGH. The end, a break, silence after a ClientHello: the flight
              to 16 KiB                    goes again if it may (tunnel/first_flight.py): WAITING; else the user is told
    WAITING   stays with the user, who     another exit opens a tunnel and gets the same bytes: FLIGHT, or THROUGH when
              is not read                  no exit is left. None does: the user is told of the first break
    THROUGH   goes up                      goes down, without this object

More than 16 KiB, or something that may not be repeated, is THROUGH as well.
"""

from __future__ import annotations

import asyncio
import enum
from typing import TYPE_CHECKING, Any, Protocol

from pog.errors import ConnectionLost, Failure
from pog.process.timers import Timer, after
from pog.tunnel.ended import Ended, Reason, Side
from pog.tunnel.first_flight import FIRST_BYTES, HANDSHAKE, MAX_BYTES, Repeatable, repeatable
from pog.tunnel.request import unheard

if TYPE_CHECKING:
    from collections.abc import Callable

    from pog.tunnel.request import Attempt, Tunnel

# A server that has got a ClientHello answers within a round trip; some middleboxes swallow it. Seconds.
SILENCE = 5.0


class Again(Protocol):
    """Who opens another tunnel for the same request."""

    @property
    def left(self) -> bool:
        """Whether there is another exit to try."""

    def again(self, why: str, done: Callable[[Tunnel | Failure], None]) -> Attempt:
        """Begins to open a tunnel through the next exit; `why` the one before is given up."""


class _State(enum.Enum):
    FLIGHT = "flight"
    WAITING = "waiting"
    THROUGH = "through"


class RetryTransport(asyncio.Transport):
    """`tunnel` is the one that the user's side holds: its exit, and what is to be told its end, change with the
    transport inside."""

    def __init__(self, tunnel: Tunnel, again: Again) -> None:
        super().__init__()
        self._tunnel = tunnel
        self._inner = tunnel.transport
        self._inner_protocol = _Inner(self)
        self._again = again
        self._state = _State.FLIGHT
        self._protocol: asyncio.Protocol | None = None
        self._flight = bytearray()
        self._eof = False
        self._paused = False
        # What the transport inside said last, and what the protocol was told last.
        self._inner_full = self._full = False
        # Whether the protocol has to wait for another transport inside until that has got the flight.
        self._exchanging = False
        self._closing = False
        self._lost = False
        self._attempt: Attempt | None = None
        self._broken: Exception | None = None
        self._timer: Timer | None = None

    # What comes from the present exit, while it is not the protocol's own

    def inner_data(self, data: bytes) -> None:
        protocol = self._through()
        protocol.data_received(data)

    def inner_eof(self) -> bool | None:
        if self._may_repeat():
            self._retry("closed without an answer", None)
            return True
        return self._through().eof_received()

    def inner_lost(self, error: Exception | None) -> None:
        if self._may_repeat():
            self._retry(f"broke without an answer: {error}" if error else "closed without an answer", error)
        else:
            self._lose(error)

    def inner_full(self, full: bool) -> None:
        self._inner_full = full
        self._update_full()

    def _silent(self) -> None:
        self._timer = None
        if self._state is _State.FLIGHT and repeatable(bytes(self._flight)) is Repeatable.CLIENT_HELLO:
            if self._may_repeat():
                self._retry(f"no answer to the ClientHello within {SILENCE:g} s", None)

    # Changes of state

    def _may_repeat(self) -> bool:
        return (
            self._state is _State.FLIGHT
            and not self._closing
            and self._again.left
            and repeatable(bytes(self._flight)) is not Repeatable.NO
        )

    def _through(self) -> asyncio.Protocol:
        """From here on the transport inside has the protocol itself."""
        self._state = _State.THROUGH
        self._flight = bytearray()
        self._stop_timer()
        assert self._protocol is not None
        if not self._exchanging:
            self._inner.set_protocol(self._protocol)
        return self._protocol

    def _retry(self, why: str, error: Exception | None) -> None:
        self._state = _State.WAITING
        self._broken = error or ConnectionLost(why)
        self._stop_timer()
        tunnel = self._tunnel
        self._inner_protocol.outer = None  # nobody hears of its end, which may come late
        if not self._inner.is_closing():
            self._inner.abort()
        tunnel.on_end(Ended(Reason.RESET, Side.TUNNEL, self._broken, len(self._flight), 0))
        tunnel.on_end, tunnel.through = unheard, None
        self._update_full()
        attempt = self._again.again(why, self._opened)
        if self._state is _State.WAITING:
            self._attempt = attempt

    def _opened(self, result: Tunnel | Failure) -> None:
        self._attempt = None
        assert self._protocol is not None
        if isinstance(result, Failure):
            self._lose(self._broken)
            return
        tunnel = self._tunnel
        tunnel.exit, tunnel.through, tunnel.reason = result.exit, result.through, result.reason
        tunnel.on_end = result.on_end
        self._inner = inner = result.transport
        self._inner_protocol = _Inner(self)
        self._inner_full = False
        flight = bytes(self._flight)
        self._state, self._exchanging = _State.FLIGHT, True
        inner.set_protocol(self._inner_protocol)
        if self._inner is not inner or self._state is _State.WAITING or self._lost:
            return  # it had been lost before, and told so within the call
        if not inner.is_closing():
            if self._paused:
                inner.pause_reading()
            inner.write(flight)
            if self._eof and inner.can_write_eof():
                inner.write_eof()
        self._exchanging = False
        if self._state is _State.THROUGH or not self._again.left:
            self._through()
        else:
            self._watch()
        if not self._closing:
            self._update_full()

    def _lose(self, error: Exception | None) -> None:
        if not self._lost:
            self._lost = self._closing = True
            self._stop_timer()
            assert self._protocol is not None
            self._protocol.connection_lost(error)

    def _update_full(self) -> None:
        full = self._inner_full or self._state is _State.WAITING
        if full != self._full and self._protocol is not None:
            self._full = full
            (self._protocol.pause_writing if full else self._protocol.resume_writing)()

    def _watch(self) -> None:
        if self._timer is None and self._flight and self._flight[0] == HANDSHAKE:
            self._timer = after(SILENCE, self._silent)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # The protocol's transport

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        assert isinstance(protocol, asyncio.Protocol)
        first = self._protocol is None
        self._protocol = protocol
        if self._state is _State.THROUGH:
            self._inner.set_protocol(protocol)
        elif first:
            self._inner.set_protocol(self._inner_protocol)

    def get_protocol(self) -> asyncio.BaseProtocol:
        assert self._protocol is not None
        return self._protocol

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._state is _State.THROUGH:
            self._inner.write(data)
            return
        if self._state is _State.FLIGHT and not self._flight and data and data[0] not in FIRST_BYTES:
            self._through()
            self._inner.write(data)
            return
        self._flight += data
        if self._state is _State.FLIGHT:
            inner = self._inner
            if len(self._flight) > MAX_BYTES or not self._again.left:
                self._through()
            else:
                self._watch()
            inner.write(data)

    def can_write_eof(self) -> bool:
        return self._state is _State.WAITING or self._inner.can_write_eof()

    def write_eof(self) -> None:
        self._eof = True
        if self._state is not _State.WAITING:
            self._inner.write_eof()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        if self._state is not _State.WAITING:
            self._inner.set_write_buffer_limits(high, low)

    def get_write_buffer_size(self) -> int:
        return len(self._flight) if self._state is _State.WAITING else self._inner.get_write_buffer_size()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._inner.get_extra_info(name, default)

    def pause_reading(self) -> None:
        self._paused = True
        if self._state is not _State.WAITING:
            self._inner.pause_reading()

    def resume_reading(self) -> None:
        self._paused = False
        if self._state is not _State.WAITING:
            self._inner.resume_reading()

    def is_closing(self) -> bool:
        return self._closing or (self._state is not _State.WAITING and self._inner.is_closing())

    def close(self) -> None:
        self._end(self._inner.close)

    def abort(self) -> None:
        self._end(self._inner.abort)

    def _end(self, end_inner: Callable[[], None]) -> None:
        if self._state is not _State.WAITING:
            self._closing = True
            end_inner()
        elif not self._closing:
            self._closing = True
            if self._attempt is not None:
                self._attempt.cancel()
            asyncio.get_running_loop().call_soon(self._lose, None)


class _Inner(asyncio.Protocol):
    """What a transport inside talks to until a byte has come down; without `outer` it was given up."""

    def __init__(self, outer: RetryTransport) -> None:
        self.outer: RetryTransport | None = outer

    def data_received(self, data: bytes) -> None:
        if self.outer is not None:
            self.outer.inner_data(data)

    def eof_received(self) -> bool | None:
        return self.outer.inner_eof() if self.outer is not None else True

    def connection_lost(self, exc: Exception | None) -> None:
        if self.outer is not None:
            self.outer.inner_lost(exc)

    def pause_writing(self) -> None:
        if self.outer is not None:
            self.outer.inner_full(True)

    def resume_writing(self) -> None:
        if self.outer is not None:
            self.outer.inner_full(False)
