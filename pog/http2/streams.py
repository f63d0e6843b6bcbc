"""The streams of one connection: how they begin, what they send and take, and how they end."""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from h2.errors import ErrorCodes

from pog.errors import ConnectionLost, ProtocolViolation, StreamsExhausted, TunnelReset
from pog.http2.config import BULK_BYTES
from pog.http2.connection import Connection
from pog.http2.deadlines import Deadlines
from pog.http2.liveness import Liveness
from pog.http2.scheduler import SendQueue
from pog.http2.stats import Stats
from pog.http2.stream import Stream
from pog.http2.writer import Writer

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from h2.events import RequestReceived, ResponseReceived, StreamEnded, StreamReset, TrailersReceived

    from pog.errors import TunnelError
    from pog.http2.config import SessionConfig
    from pog.http2.events import StreamFailed, WindowOpened
    from pog.http2.fields import Headers
    from pog.http2.flow import Flow
    from pog.http2.machine import MachineStream
    from pog.http2.scheduler import Chunk
    from pog.http2.windows import Budget

log = logging.getLogger(__name__)

# Streams that a peer allows before its SETTINGS have come: RFC 9113 section 6.5.2 recommends no fewer.
_CAPACITY_BEFORE_SETTINGS = 100


class Streams(ABC):
    """What a Session (session.py) is to its streams; the transport is the session's business."""

    def __init__(
        self,
        *,
        client: bool,
        config: SessionConfig,
        loop: asyncio.AbstractEventLoop,
        budget: Budget,
        on_request: Callable[[Stream], None] | None,
    ) -> None:
        self.client = client
        self.config = config
        self.loop = loop
        self.draining = False
        self.stats = Stats()
        self.streams: dict[int, Stream] = {}
        self._on_request = on_request
        self._budget = budget
        self._connection = Connection(config, budget, client=client, clock=time.monotonic)
        self._writer = Writer(self._connection, loop, self._sent)
        self._watch = Liveness(self._connection, config, loop, self._tidy, self.abort)
        # From the transport to the loss of the connection.
        self._open = False
        self._settings_known = False
        self._reason: str | None = None
        self._now = time.monotonic()
        # When it was last seen in use, and how many streams there had been.
        self._used_at = self._now
        self._used_streams = 0
        self._deadlines = Deadlines()

    # What the session does

    @abstractmethod
    def abort(self, reason: str) -> None:
        """Closes the connection now."""

    @abstractmethod
    def drain(self) -> None:
        """Takes no new streams, and closes with the last one."""

    @abstractmethod
    def is_closing(self) -> bool:
        """Whether nothing can be sent any more."""

    @abstractmethod
    def _takes(self, stream_id: int) -> bool:
        """Whether a request with this number is still taken."""

    @abstractmethod
    def _room_made(self) -> None:
        """A stream is over, or the peer allows more."""

    # Orders of the streams

    @property
    def capacity(self) -> int:
        """Streams that may be opened now, beside those that are open."""
        if self.draining or not self._open:
            return 0
        capacity = self._connection.capacity
        return capacity if self._settings_known else min(capacity, _CAPACITY_BEFORE_SETTINGS - self.active)

    @property
    def active(self) -> int:
        """Streams open now."""
        return len(self._connection.machine.streams)

    def open(self, stream: Stream, headers: Headers, content: bytes = b"", *, end_stream: bool = False) -> None:
        """Opens a stream that was created and not opened yet: sends its request, and what is known of the content.

        Raises StreamsExhausted when there is no `capacity`, ConnectionLost.
        """
        if not self._open:
            raise ConnectionLost(self._reason or "not connected")
        if self.capacity <= 0:
            raise StreamsExhausted("the connection is draining" if self.draining else "the connection is full")
        machine = self._connection.open_stream(headers, end_stream=end_stream)
        self._add(stream, machine)
        if end_stream:
            stream.queue.ends = stream.queue.finished = True
        elif content:
            stream.data_sent += len(content)
            self.stats.bytes_sent += len(content)
            self._connection.queue(stream.queue, [content], len(content))
        self._watch.used(time.monotonic())
        self._writer.soon()

    def _add(self, stream: Stream, machine: MachineStream) -> Stream:
        stream.begin(machine, SendQueue(machine, stream))
        self.streams[machine.stream_id] = stream
        self.stats.streams += 1
        return stream

    def send_headers(self, stream: Flow, headers: Headers, *, end_stream: bool) -> None:
        self._connection.send_headers(stream.machine, headers, end_stream=end_stream)
        if end_stream:
            stream.queue.ends = stream.queue.finished = True
            self._settle(stream)
        self._writer.soon()

    def write(self, stream: Flow, chunks: list[Chunk], size: int) -> None:
        self.stats.bytes_sent += size
        if self._writer.full or not self._connection.send_short(stream.queue, chunks, size):
            self._connection.queue(stream.queue, chunks, size)
        if size >= BULK_BYTES:
            self._writer.flush()  # while it is in the processor's cache
        else:
            self._writer.soon()

    def end(self, stream: Flow, trailers: Headers | None) -> None:
        self._connection.end(stream.queue, trailers)
        if stream.queue.finished:
            self._settle(stream)
        else:
            self.must_send(stream)
        self._writer.soon()

    def must_send(self, stream: Flow) -> None:
        """Resets the stream when nothing of what it has to send goes out for too long."""
        if stream.id in self.streams:
            self._deadlines.set(stream, time.monotonic(), self.config.linger, for_unsent=True)

    def expire(self, stream: Flow, seconds: float) -> None:
        """Resets the stream when it is not over by then (or a few seconds later), nor has sent anything since."""
        if stream.id in self.streams:
            self._deadlines.set(stream, time.monotonic(), seconds, for_unsent=False)

    def reset(self, stream: Flow, error_code: int) -> None:
        if stream.id is None or stream.error is not None or stream.machine.closed:
            return
        if self.client and error_code == ErrorCodes.NO_ERROR and not stream.ended:
            error_code = ErrorCodes.CANCEL
        self._reset(stream.machine, error_code)
        self._remove(stream)
        self._tell_lost(stream, TunnelReset(int(error_code), by_peer=False))
        self._writer.soon()

    def consumed(self, stream: Flow, size: int) -> None:
        """A stream's owner took `size` bytes of content."""
        if self._writer.corked:
            self._connection.consumed(stream.machine, size, self._now)
        else:
            self._connection.consumed(stream.machine, size, time.monotonic())
            if self._connection.has_output:
                self._writer.soon()

    def hold(self, size: int) -> None:
        """A stream holds `size` bytes more, since its owner does not take them now."""
        self._budget.held += size

    def overdrawn(self, stream: Flow) -> bool:
        """Whether memory is so short that a stream which holds more than before has to go."""
        return self._budget.refuses(reader=stream.has_reader)

    def widen(self, stream: Flow) -> None:
        """The stream has got a reader that takes content as it comes."""
        self._connection.widen(stream.machine)

    def unhold(self, stream: Flow, credit: int, size: int) -> None:
        """A stream holds `size` bytes less; `credit` of them have not been counted as consumed yet."""
        self._budget.held -= size
        if not self._open:
            return
        if self._connection.machine.window.held:
            self._connection.return_credit(time.monotonic())
        if credit:
            self.consumed(stream, credit)

    # What the connection reports of them

    def _request_received(self, event: RequestReceived) -> None:
        assert event.stream_id is not None
        machine = self._connection.machine.streams.get(event.stream_id)
        if machine is None:
            return  # reset by its own peer in the same piece of input
        if not self._takes(event.stream_id):
            self._reset(machine, ErrorCodes.REFUSED_STREAM)
            return
        stream = self._add(Stream(self), machine)
        stream.on_headers(event.headers)  # type: ignore[arg-type]  # text, by Machine
        if event.stream_ended is not None:
            stream.on_end()
        self._give_request(stream)

    def _give_request(self, stream: Stream) -> None:
        if self._on_request is None:
            self.reset(stream, ErrorCodes.REFUSED_STREAM)
        else:
            self._on_request(stream)

    def _response_received(self, event: ResponseReceived) -> None:
        stream = self.streams.get(event.stream_id)
        if stream is not None:
            stream.on_headers(event.headers)  # type: ignore[arg-type]  # text, by Machine

    def _trailers_received(self, event: TrailersReceived) -> None:
        stream = self.streams.get(event.stream_id)
        if stream is not None:
            stream.on_trailers(event.headers)  # type: ignore[arg-type]  # text, by Machine

    def _stream_ended(self, event: StreamEnded) -> None:
        stream = self.streams.get(event.stream_id)
        if stream is None or stream.ended:
            return
        stream.on_end()
        if self.client and not stream.queue.finished:
            # The answer is complete, so nobody wants the rest of the request.
            self._reset(stream.machine, ErrorCodes.NO_ERROR)
            self._stop_sending(stream)
            self._remove(stream)
        else:
            self._settle(stream)

    def _stream_reset(self, event: StreamReset) -> None:
        stream = self.streams.get(event.stream_id)
        resets = self.stats.resets_received if event.remote_reset else self.stats.resets_sent
        resets[int(event.error_code)] += 1
        if stream is None:
            return
        self._remove(stream)
        if self.client and stream.ended:
            self._stop_sending(stream)
        else:
            self._tell_lost(stream, TunnelReset(int(event.error_code), by_peer=bool(event.remote_reset)))

    def _stream_failed(self, event: StreamFailed) -> None:
        self.stats.resets_sent[event.error_code] += 1
        log.debug("stream %d: %s", event.stream_id, event.reason)
        stream = self.streams.get(event.stream_id)
        if stream is not None:
            self._remove(stream)
            self._tell_lost(stream, ProtocolViolation(f"the peer broke a rule of HTTP/2: {event.reason}"))

    def _window_opened(self, event: WindowOpened) -> None:
        stream = self.streams.get(event.stream_id)
        if stream is not None:
            self._connection.window_opened(stream.queue)

    def _sent(self, queue: SendQueue) -> None:
        """Some of a stream's data has become frames."""
        stream: Stream | None = queue.owner
        if stream is None:
            return  # it ended in an earlier turn of the same pass
        try:
            stream.on_sent()
        except Exception:
            self.broken(stream)
        if queue.finished:
            self._deadlines.sent(stream)
            self._settle(stream)

    # Their ends

    def _settle(self, stream: Flow) -> None:
        """Our direction or the peer's has ended; when both have, the stream is over."""
        if stream.queue.finished and not stream.ended and not self.client:
            # RFC 9113 section 8.1: the answer is complete without the rest of the request.
            self._reset(stream.machine, ErrorCodes.NO_ERROR)
            stream.release()
            self._remove(stream)
        elif stream.queue.finished and stream.ended:
            self._remove(stream)

    def _remove(self, stream: Flow) -> None:
        self._deadlines.drop(stream)
        stream.queue.owner = None  # a cycle less for the garbage collector
        if stream.id is not None and self.streams.pop(stream.id, None) is not None:
            self._connection.stream_stalls.end(stream.queue)
            self._room_made()

    def _reset(self, machine: MachineStream, error_code: int) -> None:
        self.stats.resets_sent[error_code] += 1
        self._connection.reset_stream(machine, error_code)

    def _stop_sending(self, stream: Flow) -> None:
        stream.queue.ends = stream.queue.finished = True
        stream.queue.ready = False
        stream.discard_written()

    def broken(self, stream: Flow) -> None:
        """The owner of a stream failed in a callback: that is the end of this stream, and of no other."""
        log.exception("a stream's owner failed")
        self.reset(stream, ErrorCodes.INTERNAL_ERROR)

    def _tell_lost(self, stream: Flow, error: TunnelError) -> None:
        stream.queue.ready = False
        stream.queue.owner = None
        stream.queue.clear()
        try:
            stream.on_lost(error)
        except Exception:
            log.exception("a stream's owner failed")

    def _lose_all(self, reason: str) -> None:
        """The connection is gone."""
        self._open = False
        streams = [*self.streams.values()]
        self.streams.clear()
        self._deadlines.clear()
        self._connection.machine.streams.clear()
        self._connection.stream_stalls.end_all()
        self._connection.connection_stalls.end_all()
        for stream in streams:
            self._tell_lost(stream, ConnectionLost(reason))

    def _tidy(self, now: float) -> None:
        """From time to time: streams that should be over, and credit that memory allows by now."""
        self._now = now
        for stream in self._deadlines.passed(now):
            self.reset(stream, ErrorCodes.CANCEL)
        self._connection.return_credit(now)
        self._end_if_useless(now)
        self._writer.flush()

    def _end_if_useless(self, now: float) -> None:
        if self.streams or self.stats.streams != self._used_streams:
            self._used_at, self._used_streams = now, self.stats.streams
        unused = now - self._used_at
        if not self.client and unused >= self.config.idle:
            self.drain()
