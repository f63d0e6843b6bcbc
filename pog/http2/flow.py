"""One stream's content, both ways, for the payload of a tunnel.

A Consumer is given each piece of content in the moment it is read from the socket: no task or future per piece.

Where bytes wait, and until when:

1. Content that is not taken waits in `_buffer`, at most a window of it. Its credit is returned when it is taken.
2. What is written waits in `queue` until the windows and the scheduler allow it to be sent. Above a mark the consumer
   is paused (`pause_writing`).
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from grpclib.exceptions import StreamTerminatedError
from h2.errors import ErrorCodes

from pog.errors import TunnelReset
from pog.http2.config import BULK_BYTES
from pog.http2.consumer import Discarding
from pog.http2.receive_buffer import ReceiveBuffer

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from grpclib.utils import Wrapper

    from pog.errors import TunnelError
    from pog.http2.consumer import Consumer
    from pog.http2.endpoint import Endpoint
    from pog.http2.fields import Headers
    from pog.http2.machine_stream import MachineStream
    from pog.http2.scheduler import Chunk, SendQueue

log = logging.getLogger(__name__)

_DISCARDING = Discarding()


class Flow:
    """The half of a Stream (stream.py) that has no coroutines.

    `id` is None until the stream is opened. `headers` are those of the peer: the request on a server, the response on a
    client. `ended`: the peer has ended its direction. `error`: why the stream broke.
    """

    __slots__ = (
        "_begins",
        "_buffer",
        "_connection",
        "_consumer",
        "_delivering",
        "_end_delivered",
        "_endpoint",
        "_head_sent",
        "_paused",
        "_waiters",
        "_wanted",
        "_writer",
        "_writing_paused",
        "data_received",
        "data_sent",
        "ended",
        "error",
        "headers",
        "id",
        "machine",
        "queue",
        "trailers",
        "wrapper",
    )

    machine: MachineStream
    queue: SendQueue

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._connection = endpoint.connection
        self._writer = endpoint.writer
        self.id: int | None = None
        # Set by grpclib: cancels the handler of a call.
        self.wrapper: Wrapper | None = None
        self.headers: Headers | None = None
        self.trailers: Headers | None = None
        self.ended = False
        self.error: TunnelError | None = None
        self.data_sent = 0
        self.data_received = 0
        self._buffer = ReceiveBuffer()
        self._wanted = 0
        self._consumer: Consumer | None = None
        self._paused = False
        # Whether reading begins in the next pass, unless the consumer pauses it before.
        self._begins = False
        self._delivering = False
        self._end_delivered = False
        self._writing_paused = False
        self._head_sent = endpoint.client
        self._waiters: list[asyncio.Future[None]] | None = None

    @property
    def client(self) -> bool:
        """Whether this end has opened the stream."""
        return self._endpoint.client

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        return self._endpoint.loop

    @property
    def buffered(self) -> int:
        """Bytes received and not yet taken."""
        return self._buffer.size

    # What the peer did

    def begin(self, machine: MachineStream, queue: SendQueue) -> None:
        """The stream is open."""
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
        consumer, buffer = self._consumer, self._buffer
        if consumer is not None and not self._paused and not buffer.size:
            consumer.data_received(data)
            self._return_credit(size)
            return
        budget = self._endpoint.budget
        buffer.add(data)
        budget.used += size
        if self._wanted:
            self._credit_ahead()
        self._wake()
        if budget.refuses(reader=consumer is not None):
            self.abort(ErrorCodes.ENHANCE_YOUR_CALM)

    def on_end(self) -> None:
        self.ended = True
        self._deliver_end()
        self._wake()

    def on_lost(self, error: TunnelError) -> None:
        """The stream broke. What was buffered is dropped: the bytes before a cut are of no use without the rest."""
        if self.id is not None:
            self.queue.close()
        if self.error is not None:
            return
        self.error = error
        self._clear_buffer()
        consumer, self._consumer = self._consumer, None
        try:
            if consumer is not None:
                consumer.lost(error)
            elif self.wrapper is not None:
                self.wrapper.cancel(StreamTerminatedError(str(error)))
        except Exception:
            log.exception("the owner of a stream failed")
        self._wake()

    def on_sent(self) -> None:
        """Some of the queue has become frames."""
        self._queue_shrank()
        queue = self.queue
        if queue.finished and queue.owner is not None:
            self._endpoint.deadlines.sent(queue)
            self.close_if_done()

    def _queue_shrank(self) -> None:
        if self._writing_paused and self.queue.size <= self._endpoint.config.write_low:
            self._writing_paused = False
            if self._consumer is not None:
                try:
                    self._consumer.resume_writing()
                except Exception:
                    self.fail()
        if self._waiters:
            self._wake()

    def _wake(self) -> None:
        if self._waiters:
            waiters, self._waiters = self._waiters, None
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)

    # Credit

    def _return_credit(self, size: int) -> None:
        """`size` bytes of content were taken."""
        self._connection.consumed(self.machine, size)
        if not self._writer.corked and self._connection.has_output:
            self._writer.soon()

    def _credit_ahead(self) -> None:
        credit = self._buffer.credit_ahead(self._wanted)
        if credit:
            self._return_credit(credit)

    def _unbuffered(self, size: int, credit: int) -> None:
        """`size` bytes have left the buffer; `credit` of them have not been returned to the peer yet."""
        self._endpoint.budget.used -= size
        if not self._endpoint.open:
            return
        self._connection.return_credit()
        if credit:
            self._return_credit(credit)

    def _clear_buffer(self) -> None:
        size, credit = self._buffer.clear()
        self._wanted = 0
        if size:  # last: it may write, and come back here
            self._unbuffered(size, credit)

    # For payload

    def attach(self, consumer: Consumer) -> None:
        """From now on content goes to `consumer`, in the next pass of the loop at the earliest."""
        self.wrapper = None
        if self.error is not None:
            self.loop.call_soon(consumer.lost, self.error)
            return
        self._consumer = consumer
        self._connection.widen(self.machine)
        if self._writing_paused:
            consumer.pause_writing()
        if self._paused or self._buffer.size or self.ended:
            self._paused = self._begins = True
            self.loop.call_soon(self._begin_reading)

    def _begin_reading(self) -> None:
        if self._begins:
            self.resume_reading()

    def unread(self, data: Chunk) -> None:
        """For a consumer: the end of what it was just given belongs to the next consumer."""
        # Its credit goes back with what the present consumer took.
        self._buffer.put_back(data)
        self._endpoint.budget.used += len(data)

    def release(self) -> None:
        """The rest will not be read: what is buffered is dropped, and so is what may still come."""
        self._consumer = _DISCARDING
        self._paused = False
        self._clear_buffer()

    def pause_reading(self) -> None:
        self._paused = True
        self._begins = False

    def resume_reading(self) -> None:
        """Delivers what is buffered, as far as the consumer takes it."""
        consumer = self._consumer
        if consumer is None or not self._paused:
            return
        self._paused = False
        if self._delivering:
            return  # the consumer was given a piece, paused and resumes: the rest of that piece is its next
        self._delivering = True
        try:
            while self._buffer.size and not self._paused:
                chunk, credit = self._buffer.take_piece()
                try:
                    consumer.data_received(chunk)
                finally:
                    self._unbuffered(len(chunk), credit)
            self._deliver_end()
        except Exception:
            self.fail()
        finally:
            self._delivering = False

    def _deliver_end(self) -> None:
        consumer = self._consumer
        if self.ended and not self._end_delivered and consumer is not None:
            if not self._paused and not self._buffer.size:
                self._end_delivered = True
                consumer.ended()

    def write(self, chunks: list[Chunk], size: int) -> None:
        """Queues content; `size` is the sum of the chunks in bytes, none of which is empty. The list is taken over.

        A consumer that writes much is paused at once, and until the next pass of the loop at least. After the end or
        a break what is written is dropped.
        """
        queue = self.queue
        if self.error is not None or queue.ends:
            return
        self.data_sent += size
        writer = self._writer
        outbound = self._connection.outbound
        if writer.full or not outbound.send_short(queue, chunks, size):
            outbound.enqueue(queue, chunks, size)
        if size >= BULK_BYTES:
            writer.flush()  # while it is in the processor's cache
        else:
            writer.soon()
        if self._writing_paused or self.error is not None:
            return
        if size >= BULK_BYTES or queue.size > self._endpoint.config.write_high:
            self._writing_paused = True
            if self._consumer is not None:
                self._consumer.pause_writing()
            if queue.size <= self._endpoint.config.write_low:
                self.loop.call_soon(self._queue_shrank)

    def write_eof(self) -> None:
        """Ends our direction after what is queued."""
        if self.error is None and not self.queue.ends:
            self.end_with(None)

    def discard_written(self) -> None:
        """What is queued and has not become a frame yet is dropped."""
        self.queue.clear()
        self._queue_shrank()

    def when_sent(self, done: Callable[[], None]) -> None:
        """Calls `done` once what was written has become frames or never can; not within this call."""
        if not self.queue.size or self.error is not None:
            self.loop.call_soon(done)
            return
        waiter = self.loop.create_future()
        waiter.add_done_callback(lambda _: self.when_sent(done))
        if self._waiters is None:
            self._waiters = []
        self._waiters.append(waiter)

    # The end of our direction, of both, and of the stream

    def send_headers_now(self, headers: Headers, *, end_stream: bool) -> None:
        """Sends a response's head, or an answer that is nothing else, before what is queued."""
        self._connection.outbound.send_headers(self.machine, headers, end_stream=end_stream)
        if end_stream:
            self.queue.ends = self.queue.finished = True
            self.close_if_done()
        self._writer.soon()

    def end_with(self, trailers: Headers | None) -> None:
        """Ends our direction after what is queued. Raises ValueError for trailers that may not be sent."""
        self._connection.outbound.end(self.queue, trailers)
        if self.queue.finished:
            self.close_if_done()
        else:
            self.must_send()
        self._writer.soon()

    def close_if_done(self) -> None:
        """One direction has ended. When both have, or the answer is complete, the stream is over."""
        finished = self.queue.finished
        if finished and self.ended:
            self.closed()
        elif finished and not self.client:
            # RFC 9113 section 8.1: the answer is complete without the rest of the request.
            self._reset(ErrorCodes.NO_ERROR)
            self.release()
            self.closed()
        elif self.ended and self.client:
            # The same from the other side: the rest of our request is of no use.
            self._reset(ErrorCodes.NO_ERROR)
            self.stop_sending()
            self.closed()

    def stop_sending(self) -> None:
        """Our direction ends here; what is queued is dropped."""
        self.queue.ends = self.queue.finished = True
        self.queue.ready = False
        self.discard_written()

    def abort(self, error_code: int) -> None:
        """Resets the stream. Does nothing to one that is over or was never opened."""
        if self.id is None or self.error is not None or self.machine.closed:
            return
        if self.client and error_code == ErrorCodes.NO_ERROR and not self.ended:
            # RFC 9113 section 8.1: NO_ERROR is for a server whose answer is complete.
            error_code = ErrorCodes.CANCEL
        self._reset(error_code)
        self.closed()
        self.on_lost(TunnelReset(int(error_code), by_peer=False))
        self._writer.soon()

    def fail(self) -> None:
        """The owner of the stream failed in a callback: that is the end of this stream, and of no other."""
        log.exception("the owner of a stream failed")
        self.abort(ErrorCodes.INTERNAL_ERROR)

    def must_send(self) -> None:
        """Resets the stream when nothing of what is queued has been sent for SessionConfig.linger seconds."""
        self._set_deadline(self._endpoint.config.linger, for_unsent=True)

    def expire(self, seconds: float) -> None:
        """Resets the stream when it is not over by then and sends nothing meanwhile."""
        self._set_deadline(seconds, for_unsent=False)

    def _set_deadline(self, seconds: float, *, for_unsent: bool) -> None:
        if self.queue.owner is not None:
            endpoint = self._endpoint
            endpoint.deadlines.set(self.queue, endpoint.clock(), seconds, for_unsent=for_unsent)

    def _reset(self, error_code: int) -> None:
        self._endpoint.stats.resets_sent[error_code] += 1
        self._connection.reset_stream(self.machine, error_code)

    def closed(self) -> None:
        """The stream is over, and leaves the connection's table."""
        assert self.id is not None
        self._endpoint.deadlines.discard(self.queue)
        self.queue.owner = None  # a cycle less for the garbage collector
        self._endpoint.on_stream_closed(self.id)
