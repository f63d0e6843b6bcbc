"""One stream's content, both ways, for the payload of a tunnel.

A Consumer is given each piece of content in the moment it is read from the socket: no task or future per piece.

Where bytes wait, and until when:

1. Content that nobody takes is held here, at most a window of it. Its credit goes back when it is taken.
2. What is written waits in `queue` until the windows and the scheduler let it go. Above a mark the writer is told to
   pause (`pause_writing`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from grpclib.exceptions import StreamTerminatedError
from h2.errors import ErrorCodes

from pog.http2.config import BULK_BYTES
from pog.http2.receive_buffer import ReceiveBuffer

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from grpclib.utils import Wrapper

    from pog.errors import TunnelError
    from pog.http2.fields import Headers
    from pog.http2.machine import MachineStream
    from pog.http2.scheduler import Chunk, SendQueue
    from pog.http2.streams import Streams


class Consumer(Protocol):
    """Takes a stream's content by callbacks, after `Stream.attach`."""

    def data_received(self, data: bytes | memoryview) -> None:
        """A piece of content, of any size. A large one is a view, and holds what was read with it in memory."""

    def ended(self) -> None:
        """The peer has ended its direction; `Stream.trailers` are there if it sent any."""

    def lost(self, error: TunnelError) -> None:
        """The stream is gone; nothing else is called after this."""

    def pause_writing(self) -> None:
        """Much of what was written is waiting."""

    def resume_writing(self) -> None:
        """Little of what was written is waiting."""


class Flow:
    """The half of a Stream (stream.py) that has no coroutines. `headers` are those of the peer: the request on a
    server, the response on a client. `error`: why it broke."""

    __slots__ = (
        "_begins",
        "_consumer",
        "_credited",
        "_delivering",
        "_end_told",
        "_full",
        "_head_sent",
        "_held",
        "_paused",
        "_waiters",
        "_wanted",
        "connection",
        "data_received",
        "data_sent",
        "ended",
        "error",
        "headers",
        "held",
        "id",
        "machine",
        "queue",
        "trailers",
        "wrapper",
    )

    machine: MachineStream
    queue: SendQueue

    def __init__(self, session: Streams, wrapper: Wrapper | None = None) -> None:
        self.id: int | None = None
        self.connection = session
        self.wrapper = wrapper
        self.headers: Headers | None = None
        self.trailers: Headers | None = None
        self.ended = False
        self.error: TunnelError | None = None
        self.held = 0
        self.data_sent = 0
        self.data_received = 0
        self._held = ReceiveBuffer()
        self._wanted = 0
        self._credited = 0
        self._paused = False
        # Whether reading begins in the next pass, unless the consumer pauses it before.
        self._begins = False
        self._delivering = False
        self._full = False
        self._end_told = False
        self._head_sent = session.client
        self._consumer: Consumer | None = None
        self._waiters: list[asyncio.Future[None]] | None = None

    # From the session

    def begin(self, machine: MachineStream, queue: SendQueue) -> None:
        self.id = machine.stream_id
        self.machine = machine
        self.queue = queue

    def on_headers(self, headers: Headers) -> None:
        self.headers = headers
        self._wake()

    def on_trailers(self, headers: Headers) -> None:
        self.trailers = headers

    def on_data(self, data: Chunk) -> None:
        size = len(data)
        self.data_received += size
        consumer = self._consumer
        if consumer is not None and not self._paused and not self.held:
            consumer.data_received(data)
            self.connection.consumed(self, size)
            return
        self._held.add(data)
        self.held += size
        self.connection.hold(size)
        if self._wanted:
            self._credit_wanted()
        self._wake()
        if self.connection.overdrawn(self):
            self.connection.reset(self, ErrorCodes.ENHANCE_YOUR_CALM)

    def on_end(self) -> None:
        self.ended = True
        self._tell_end()
        self._wake()

    def _tell_end(self) -> None:
        if self.ended and not self._end_told and self._consumer is not None and not self._paused and not self.held:
            self._end_told = True
            self._consumer.ended()

    def on_lost(self, error: TunnelError) -> None:
        """The stream broke. What was held is dropped: the bytes before a cut are of no use without the rest."""
        if self.error is not None:
            return
        self.error = error
        self._drop_held()
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            consumer.lost(error)
        elif self.wrapper is not None:
            self.wrapper.cancel(StreamTerminatedError(str(error)))
        self._wake()

    def on_sent(self) -> None:
        """Some of the queue has become frames."""
        if self._full and self.queue.size <= self.connection.config.write_low:
            self._full = False
            if self._consumer is not None:
                self._consumer.resume_writing()
        if self._waiters:
            self._wake()

    def release(self) -> None:
        """Nobody will read the rest: what is held is dropped, and so is what may still come."""
        self._consumer = _NOBODY
        self._paused = False
        self._drop_held()

    def _drop_held(self) -> None:
        held, credit = self.held, self.held - self._credited
        self._held, self.held, self._credited, self._wanted = ReceiveBuffer(), 0, 0, 0
        if held:  # last: it may write, and come back here
            self.connection.unhold(self, credit, held)

    # What is held

    def _wake(self) -> None:
        if self._waiters:
            waiters, self._waiters = self._waiters, None
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)

    def _uncount(self, size: int) -> int:
        """So many bytes are no longer held; how many of them have still to be credited."""
        self.held -= size
        credit = max(0, size - self._credited)
        self._credited -= size - credit
        return credit

    def _credit_wanted(self) -> None:
        """A message that somebody waits for may be larger than the window: its bytes count as taken."""
        credit = min(self.held, self._wanted) - self._credited
        if credit > 0:
            self._credited += credit
            self.connection.consumed(self, credit)

    # For payload

    def attach(self, consumer: Consumer) -> None:
        """From now on content goes to `consumer`, in the next pass of the loop at the earliest."""
        self.wrapper = None
        if self.error is not None:
            self.connection.loop.call_soon(consumer.lost, self.error)
            return
        self._consumer = consumer
        self.connection.widen(self)
        if self._full:
            consumer.pause_writing()
        if self._paused or self.held or self.ended:
            self._paused = self._begins = True
            self.connection.loop.call_soon(self._begin_reading)

    def _begin_reading(self) -> None:
        if self._begins:
            self.resume_reading()

    def unread(self, data: Chunk) -> None:
        """For a consumer: the end of what it was just given belongs to the next consumer."""
        size = len(data)
        self._held.add_first(data)
        self.held += size
        # Its credit goes back with what the present consumer took.
        self._credited += size
        self.connection.hold(size)

    @property
    def has_reader(self) -> bool:
        """Whether content goes to a consumer."""
        return self._consumer is not None

    def pause_reading(self) -> None:
        self._paused = True
        self._begins = False

    def resume_reading(self) -> None:
        """Delivers what is held, as far as the consumer takes it."""
        consumer = self._consumer
        if consumer is None or not self._paused:
            return
        self._paused = False
        if self._delivering:
            return  # the consumer was given a piece, paused and resumes: the rest of that piece is its next
        self._delivering = True
        try:
            while self.held and not self._paused:
                chunk = self._held.take_piece()
                credit = self._uncount(len(chunk))
                try:
                    consumer.data_received(chunk)
                finally:
                    self.connection.unhold(self, credit, len(chunk))
            self._tell_end()
        except Exception:
            self.connection.broken(self)
        finally:
            self._delivering = False

    def write(self, chunks: list[Chunk], size: int) -> None:
        """Queues content; `size` is the sum of the chunks in bytes, none of which is empty. The list is taken over.

        A consumer that writes much is paused at once, and until the next pass of the loop at least. After the end or
        a break what is written is dropped.
        """
        if self.error is not None or self.queue.ends:
            return
        self.data_sent += size
        self.connection.write(self, chunks, size)
        if self._full or self.error is not None:
            return
        if size >= BULK_BYTES or self.queue.size > self.connection.config.write_high:
            self._full = True
            if self._consumer is not None:
                self._consumer.pause_writing()
            if self.queue.size <= self.connection.config.write_low:
                self.connection.loop.call_soon(self.on_sent)

    def write_eof(self) -> None:
        """Ends our direction after what is queued."""
        if self.error is None and not self.queue.ends:
            self.connection.end(self, None)

    def when_sent(self, done: Callable[[], None]) -> None:
        """Calls `done` once what was written has become frames or never can; not within this call."""
        if not self.queue.size or self.error is not None:
            self.connection.loop.call_soon(done)
            return
        waiter = self.connection.loop.create_future()
        waiter.add_done_callback(lambda _: self.when_sent(done))
        if self._waiters is None:
            self._waiters = []
        self._waiters.append(waiter)

    def expire(self, seconds: float) -> None:
        """Resets the stream when it is not over by then and sends nothing meanwhile."""
        self.connection.expire(self, seconds)

    def discard_written(self) -> None:
        """What is queued and has not become a frame yet is dropped."""
        self.queue.clear()
        self.on_sent()


class _Nobody:
    """Takes everything and does nothing."""

    def data_received(self, data: Chunk) -> None:
        pass

    def ended(self) -> None:
        pass

    def lost(self, error: TunnelError) -> None:
        pass

    def pause_writing(self) -> None:
        pass

    def resume_writing(self) -> None:
        pass


_NOBODY = _Nobody()
