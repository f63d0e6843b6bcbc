"""The asyncio shell of a connection, the same for both roles: reads, writes, keepalive, drain.

    data_received  ->  connection  ->  events  ->  streams        never waits for any of them
    stream.write   ->  its queue   ->  flush   ->  transport      never more than a little beyond what the socket takes

Output is written once per piece of input, and otherwise at once: the loop's transports join what one pass writes.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
import time
from typing import TYPE_CHECKING, Any, cast

from grpclib.protocol import Peer
from h2.errors import ErrorCodes
from h2.events import (
    PingAckReceived,
    RemoteSettingsChanged,
    RequestReceived,
    ResponseReceived,
    SettingsAcknowledged,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from h2.exceptions import ProtocolError

from pog.errors import ConnectionLost, StreamsExhausted, TunnelError, TunnelReset
from pog.http2.config import BULK_BYTES, SessionConfig
from pog.http2.connection import Connection
from pog.http2.events import ConnectionFailed, DataReceived, GoAwayReceived, ProbeAnswered, WindowOpened
from pog.http2.frames import LARGEST_STREAM_ID
from pog.http2.keepalive import Keepalive, Verdict
from pog.http2.scheduler import SendQueue
from pog.http2.stats import Levels, Stats
from pog.http2.stream import Stream
from pog.http2.windows import Budget

if TYPE_CHECKING:
    from collections.abc import Callable

    from pog.http2.hpack import Headers
    from pog.http2.machine import MachineStream
    from pog.http2.scheduler import Chunk

log = logging.getLogger(__name__)

# Streams that a peer allows before its SETTINGS have come: RFC 9113 section 6.5.2 recommends no fewer.
_CAPACITY_BEFORE_SETTINGS = 100
# How much one pass moves from the streams' queues to the transport before it looks again whether that is full.
_PULL_BYTES = 256 * 1024
# A peer that takes no output may make us answer so much (acknowledgements, resets) before it is cut off.
_MOST_UNSENT_ANSWERS = 4 * 1024 * 1024
# A failed connection is closed after its GOAWAY was sent, or after this many seconds.
_CLOSE_TIMEOUT = 5.0
# So many pieces of output of one pass are joined: with all of them, two busy processes would wait for each other.
_MOST_JOINED = 8
# A piece of input of this size is worth a measurement of the round trip.
_WORTH_A_PROBE = 16 * 1024
# Limits and lingering streams are looked at so often, seconds; never more often than the second number.
_LOOK_EVERY = 10.0
_LOOK_AT_MOST = 0.05

PROCESS_BUDGET = Budget(256 * 1024 * 1024)


class Session(asyncio.Protocol):
    """One connection. To be created in the loop that it lives in.

    `on_request` gets each new stream of a server when its headers are there. For owners of several sessions:
    `on_stream_end` says that there may be room for another stream, `on_draining` that the peer wants no more, and
    `on_closed` why the connection is gone; each is called with the session.
    """

    def __init__(
        self,
        *,
        client: bool,
        config: SessionConfig | None = None,
        on_request: Callable[[Stream], None] | None = None,
        on_stream_end: Callable[[Session], None] | None = None,
        on_draining: Callable[[Session], None] | None = None,
        on_closed: Callable[[Session, str], None] | None = None,
        budget: Budget = PROCESS_BUDGET,
    ) -> None:
        self.client = client
        self.config = config or SessionConfig()
        self.loop = asyncio.get_running_loop()
        self.closed: asyncio.Future[str] = self.loop.create_future()
        self.draining = False
        self.stats = Stats()
        self.streams: dict[int, Stream] = {}
        self._on_request = on_request
        self._on_stream_end = on_stream_end
        self._on_draining = on_draining
        self._on_closed = on_closed
        self._budget = budget
        self._connection = Connection(self.config, budget, client=client, clock=time.monotonic)
        self._transport: asyncio.Transport | None = None
        self._early: list[bytes] = []
        self._upgrade: tuple[bytes, Headers] | None = None
        self._reason: str | None = None
        self._gone = False
        # While True, what is to be sent waits for the end of the present step.
        self._corked = False
        self._flushing = False
        self._joined = 0
        self._transport_full = False
        self._now = time.monotonic()
        self._began = self._now
        self._keepalive = Keepalive(self.config.keepalive, self.config.keepalive_timeout, self._now)
        self._probes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._settings_known = False
        # A server's drain: the probe between its two GOAWAYs, and the last stream that it takes.
        self._drain_probe = b""
        self._last_stream_id = LARGEST_STREAM_ID
        # Streams whose owner is done and whose rest has still to go out, and until when.
        self._lingering: dict[Stream, float] = {}
        # What grpclib counts on a connection.
        self.messages_sent = 0
        self.messages_received = 0
        self.last_message_sent: float | None = None
        self.last_message_received: float | None = None
        self._handlers: dict[type[Any], Callable[[Any], None]] = {
            WindowOpened: self._window_opened,
            RequestReceived: self._request_received,
            ResponseReceived: self._response_received,
            TrailersReceived: self._trailers_received,
            StreamEnded: self._stream_ended,
            StreamReset: self._stream_reset,
            RemoteSettingsChanged: self._settings_changed,
            SettingsAcknowledged: self._settings_acknowledged,
            PingAckReceived: lambda event: self._probe_answered(event.ping_data),
            ProbeAnswered: lambda event: self._probe_answered(event.token),
            GoAwayReceived: self._goaway_received,
            ConnectionFailed: self._failed,
        }

    # For owners

    def open_stream(self, headers: Headers, content: bytes = b"", *, end_stream: bool = False) -> Stream:
        """Sends a request, and what is known of its content, at once.

        Raises StreamsExhausted when there is no `capacity`, ConnectionLost.
        """
        stream = Stream(self)
        self.open(stream, headers, content, end_stream=end_stream)
        return stream

    @property
    def capacity(self) -> int:
        """Streams that may be opened now, beside those that are open."""
        if self.draining or self._gone:
            return 0
        capacity = self._connection.capacity
        return capacity if self._settings_known else min(capacity, _CAPACITY_BEFORE_SETTINGS - self.active)

    @property
    def active(self) -> int:
        """Streams open now."""
        return len(self._connection.machine.streams)

    @property
    def rtt(self) -> float | None:
        """The shortest round trip measured lately, in seconds."""
        return self._keepalive.rtt

    def look(self) -> Levels:
        """What it holds at this moment; brings the stalls in `stats` up to date."""
        stats, connection = self.stats, self._connection
        for_streams, for_all = connection.stream_stalls, connection.connection_stalls
        stats.stream_stalls, stats.stream_stall_seconds = for_streams.count, for_streams.seconds_so_far
        stats.connection_stalls, stats.connection_stall_seconds = for_all.count, for_all.seconds_so_far
        streams = self.streams.values()
        return Levels(
            stalled=len(for_streams),
            held=sum(stream.held for stream in streams),
            unsent=sum(stream.queue.size for stream in streams),
        )

    def drain(self) -> None:
        """Takes no new streams. Live ones go on; with the last one the connection closes."""
        if self.draining or self._gone:
            return
        self.draining = True
        if not self.client:
            # RFC 9113 section 6.8: requests that are on their way are still taken, for one round trip.
            self._go_away(LARGEST_STREAM_ID)
            self._drain_probe = self._probe()
        self._close_when_idle()
        self.flush()

    def abort(self, reason: str) -> None:
        """Closes now. Streams break with ConnectionLost and this reason."""
        if self._transport is not None:
            self._transport.abort()
        self._lose(reason)

    def feed(self, data: bytes) -> None:
        """Input that was read before this protocol got the transport; before or after connection_made."""
        if self._transport is None:
            self._early.append(data)
        else:
            self.data_received(data)

    def upgrade(self, settings_header: bytes, headers: Headers) -> None:
        """Before connection_made, on a server: an HTTP/1.1 request became stream 1 (Upgrade: h2c, 101 was sent).

        The value of HTTP2-Settings, and the request as HTTP/2 headers; it has no body.
        """
        self._upgrade = settings_header, headers

    def is_closing(self) -> bool:
        return self._gone or self._transport is None or self._transport.is_closing()

    # For grpclib

    def get_peer(self) -> Peer:
        assert self._transport is not None
        return Peer(self._transport)

    def create_stream(self, *, wrapper: Any = None) -> Stream:
        """A stream that `send_request` will open."""
        return Stream(self, wrapper)

    # The transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not checked: uvloop's transports are none of asyncio's classes.
        transport = cast("asyncio.Transport", transport)
        self._transport = transport
        transport.set_write_buffer_limits(high=self.config.transport_high)
        _tune(transport, self.config.unsent_high)
        self._corked = True
        if self._upgrade is None:
            self._connection.initiate()
        else:
            self._begin_upgraded(*self._upgrade)
        self._corked = False
        self._set_timer()
        early, self._early = self._early, []
        for data in early:
            self.data_received(data)
        self.flush()

    def _begin_upgraded(self, settings_header: bytes, headers: Headers) -> None:
        try:
            machine = self._connection.initiate_upgrade(settings_header)
        except ProtocolError as error:
            self.abort(str(error))
            return
        stream = self._add(Stream(self), machine)
        stream.on_headers(headers)
        stream.on_end()
        self._give_request(stream)

    def data_received(self, data: bytes) -> None:
        now = self._now = time.monotonic()
        self._keepalive.received(now)
        self.stats.bytes_received += len(data)
        self._corked = True
        connection = self._connection
        streams = self.streams
        for event in connection.receive_data(data, now):
            if type(event) is DataReceived:
                stream = streams.get(event.stream_id)
                if stream is not None:
                    try:
                        stream.on_data(event.data)
                    except Exception:
                        self._broken(stream)
            else:
                self._handle(event)
        if len(data) >= _WORTH_A_PROBE and connection.data_came_since_ping and self._keepalive.wants_rtt(now):
            self._probe()
        self._corked = False
        self.flush()
        if len(data) >= BULK_BYTES:
            self._let_others_read()
        if self._transport_full and self._transport is not None:
            if self._transport.get_write_buffer_size() > _MOST_UNSENT_ANSWERS:
                self.abort("the peer does not read what it asks for")

    def _let_others_read(self) -> None:
        """libuv reads a socket that has much up to 32 times before it looks at the next one: 8 MB, or 10 ms."""
        if self._transport is not None and not self._gone:
            self._transport.pause_reading()
            self.loop.call_soon(self._read_on)

    def _read_on(self) -> None:
        if self._transport is not None and not self._gone:
            self._transport.resume_reading()

    def _handle(self, event: Any) -> None:
        handler = self._handlers.get(type(event))
        if handler is None:
            return
        try:
            handler(event)
        except Exception:
            stream = self.streams.get(getattr(event, "stream_id", None) or 0)
            if stream is None:
                raise
            self._broken(stream)

    def _broken(self, stream: Stream) -> None:
        """The owner of a stream failed in a callback: that is the end of this stream, and of no other."""
        log.exception("a stream's owner failed")
        self.reset(stream, ErrorCodes.INTERNAL_ERROR)

    def eof_received(self) -> None:
        """The transport closes itself: HTTP/2 knows no half-closed connection."""
        self._reason = self._reason or "closed by the peer"

    def connection_lost(self, exc: Exception | None) -> None:
        self._lose(self._reason or (str(exc) if exc is not None else "closed"))

    def _lose(self, reason: str) -> None:
        if self._gone:
            return
        self._gone = self.draining = True
        self._reason = reason
        if self._timer is not None:
            self._timer.cancel()
        streams = [*self.streams.values()]
        self.streams.clear()
        self._lingering.clear()
        self._connection.machine.streams.clear()
        self._connection.stream_stalls.end_all()
        self._connection.connection_stalls.end_all()
        for stream in streams:
            self._tell_lost(stream, ConnectionLost(reason))
        if not self.closed.done():
            self.closed.set_result(reason)
        if self._on_closed is not None:
            self._on_closed(self, reason)

    def pause_writing(self) -> None:
        self._transport_full = True

    def resume_writing(self) -> None:
        self._transport_full = False
        self.flush()

    def flush(self) -> None:
        """Writes what is to be sent, as far as the transport takes it."""
        transport = self._transport
        if self._corked or transport is None or self._gone:
            return
        connection = self._connection
        self._corked = True
        self._joined = 0
        try:
            while True:
                served: list[SendQueue] = []
                if not self._transport_full and len(connection.scheduler):
                    served = connection.pull(_PULL_BYTES)
                chunks = connection.data_to_send()
                if not chunks:
                    break
                if len(chunks) == 1:
                    transport.write(chunks[0])
                else:
                    transport.writelines(chunks)
                if not served:
                    break
                for queue in served:
                    self._sent(queue)
        finally:
            self._corked = False

    # From streams

    def _flush_soon(self) -> None:
        """Writes when the loop has served what is ready now, or when many have spoken: then all that goes out in one
        piece, and the peer is not kept waiting for the rest."""
        if self._corked:
            return
        self._joined += 1
        if self._joined >= _MOST_JOINED:
            self.flush()
        elif not self._flushing:
            self._flushing = True
            self.loop.call_soon(self._flush_now)

    def _flush_now(self) -> None:
        self._flushing = False
        self.flush()

    def open(self, stream: Stream, headers: Headers, content: bytes = b"", *, end_stream: bool = False) -> None:
        """Opens a stream that was created and not opened yet. Raises as `open_stream` does."""
        if self._gone or self._transport is None:
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
        now = time.monotonic()
        if self._keepalive.silent(now) and not self._keepalive.waiting:
            self._probe()
            self._set_timer()
        self._flush_soon()

    def _add(self, stream: Stream, machine: MachineStream) -> Stream:
        stream.begin(machine, SendQueue(machine, stream))
        self.streams[machine.stream_id] = stream
        self.stats.streams += 1
        return stream

    def send_headers(self, stream: Stream, headers: Headers, *, end_stream: bool) -> None:
        self._connection.send_headers(stream.machine, headers, end_stream=end_stream)
        if end_stream:
            stream.queue.ends = stream.queue.finished = True
            self._settle(stream)
        self._flush_soon()

    def write(self, stream: Stream, chunks: list[Chunk], size: int) -> None:
        self.stats.bytes_sent += size
        if self._transport_full or not self._connection.send_short(stream.queue, chunks, size):
            self._connection.queue(stream.queue, chunks, size)
        if size >= BULK_BYTES:
            self.flush()  # while it is in the processor's cache
        else:
            self._flush_soon()

    def end(self, stream: Stream, trailers: Headers | None) -> None:
        self._connection.end(stream.queue, trailers)
        if stream.queue.finished:
            self._settle(stream)
        else:
            self.expire(stream, self.config.linger)
        self._flush_soon()

    def expire(self, stream: Stream, seconds: float) -> None:
        """Resets the stream when it is not over by then (or a few seconds later)."""
        if stream.id in self.streams:
            self._lingering[stream] = time.monotonic() + seconds

    def reset(self, stream: Stream, error_code: int) -> None:
        if stream.id is None or stream.error is not None or stream.machine.closed:
            return
        if self.client and error_code == ErrorCodes.NO_ERROR and not stream.ended:
            error_code = ErrorCodes.CANCEL
        self._reset(stream.machine, error_code)
        self._remove(stream)
        self._tell_lost(stream, TunnelReset(int(error_code), by_peer=False))
        self._flush_soon()

    def consumed(self, stream: Stream, size: int) -> None:
        """A stream's owner took `size` bytes of content."""
        if self._corked:
            self._connection.consumed(stream.machine, size, self._now)
        else:
            self._connection.consumed(stream.machine, size, time.monotonic())
            if self._connection.has_output:
                self._flush_soon()

    def hold(self, size: int) -> None:
        """A stream holds `size` bytes more, since its owner does not take them now."""
        self._budget.held += size
        if not self._budget.may_grow:
            self._connection.fit_budget(self._now)

    def unhold(self, stream: Stream, credit: int, size: int) -> None:
        """A stream holds `size` bytes less; `credit` of them have not been counted as consumed yet."""
        self._budget.held -= size
        if self._gone:
            return
        if self._connection.short:
            self._connection.fit_budget(time.monotonic())
        if credit:
            self.consumed(stream, credit)

    def _sent(self, queue: SendQueue) -> None:
        """Some of a stream's data has become frames."""
        stream: Stream | None = queue.owner
        if stream is None:
            return  # it ended in an earlier turn of the same pass
        try:
            stream.on_sent()
        except Exception:
            self._broken(stream)
        if queue.finished:
            self._settle(stream)

    # From the connection

    def _request_received(self, event: RequestReceived) -> None:
        assert event.stream_id is not None
        machine = self._connection.machine.streams.get(event.stream_id)
        if machine is None:
            return  # reset by its own peer in the same piece of input
        if event.stream_id > self._last_stream_id:
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

    def _window_opened(self, event: WindowOpened) -> None:
        if event.stream_id:
            stream = self.streams.get(event.stream_id)
            if stream is not None:
                self._connection.window_opened(stream.queue)

    def _settings_changed(self, event: RemoteSettingsChanged) -> None:
        self._settings_known = True
        for stream in self.streams.values():
            self._connection.window_opened(stream.queue)
        if self._on_stream_end is not None:
            self._on_stream_end(self)

    def _settings_acknowledged(self, event: SettingsAcknowledged) -> None:
        if self.rtt is None:
            self._measured(self._now - self._began)

    def _goaway_received(self, event: GoAwayReceived) -> None:
        self.stats.goaways_received[event.error_code] += 1
        log.debug("GOAWAY with error code %d: %s", event.error_code, event.debug[:200])
        if self.client and not self.draining:
            self.draining = True
            if self._on_draining is not None:
                self._on_draining(self)
        self._close_when_idle()

    def _failed(self, event: ConnectionFailed) -> None:
        self.stats.goaways_sent[event.error_code] += 1
        reason = f"the peer broke the protocol (HTTP/2 error code {event.error_code:#x}): {event.reason}"
        self._corked = False
        self.flush()
        if self._transport is not None:
            self._transport.close()
            self.loop.call_later(_CLOSE_TIMEOUT, self._transport.abort)
        self._lose(reason)

    # Ends of streams

    def _tell_lost(self, stream: Stream, error: TunnelError) -> None:
        stream.queue.ready = False
        stream.queue.owner = None
        stream.queue.clear()
        try:
            stream.on_lost(error)
        except Exception:
            log.exception("a stream's owner failed")

    def _reset(self, machine: MachineStream, error_code: int) -> None:
        self.stats.resets_sent[error_code] += 1
        self._connection.reset_stream(machine, error_code)

    def _go_away(self, last_stream_id: int | None) -> None:
        self.stats.goaways_sent[ErrorCodes.NO_ERROR] += 1
        self._connection.go_away(ErrorCodes.NO_ERROR, last_stream_id=last_stream_id)

    def _stop_sending(self, stream: Stream) -> None:
        stream.queue.ends = stream.queue.finished = True
        stream.queue.ready = False
        stream.discard_written()

    def _settle(self, stream: Stream) -> None:
        """Our direction or the peer's has ended; when both have, the stream is over."""
        if stream.queue.finished and not stream.ended and not self.client:
            # RFC 9113 section 8.1: the answer is complete without the rest of the request.
            self._reset(stream.machine, ErrorCodes.NO_ERROR)
            stream.release()
            self._remove(stream)
        elif stream.queue.finished and stream.ended:
            self._remove(stream)

    def _remove(self, stream: Stream) -> None:
        self._lingering.pop(stream, None)
        stream.queue.owner = None  # a cycle less for the garbage collector
        if stream.id is not None and self.streams.pop(stream.id, None) is not None:
            self._connection.stream_stalls.end(stream.queue)
            self._close_when_idle()
            if self._on_stream_end is not None and not self._gone:
                self._on_stream_end(self)

    def _close_when_idle(self) -> None:
        if self.draining and not self._drain_probe and not self.streams and self._transport is not None:
            self.loop.call_soon(self._close)

    def _close(self) -> None:
        if self.streams or self._gone or self._transport is None:
            return
        self._reason = self._reason or "drained"
        if self.client:
            self._go_away(None)
        self.flush()
        self._transport.close()

    # Time

    def _probe(self) -> bytes:
        self._probes += 1
        token = self._probes.to_bytes(8, "big")
        self._connection.probe(token)
        self._keepalive.probed(time.monotonic())
        return token

    def _probe_answered(self, token: bytes) -> None:
        if token == self._probes.to_bytes(8, "big"):
            self._keepalive.answered(self._now)
            self._measured(None)
        if token == self._drain_probe:
            self._drain_probe = b""
            self._last_stream_id = self._connection.machine.highest_inbound_stream_id
            self._go_away(self._last_stream_id)
            self._close_when_idle()

    def _measured(self, rtt: float | None) -> None:
        if rtt is not None:
            self._keepalive.measured(rtt, self._now)
        if self._keepalive.rtt is not None:
            self._connection.rtt = self._keepalive.rtt

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        delay = _LOOK_EVERY
        if self.config.keepalive > 0:
            delay = min(delay, max(_LOOK_AT_MOST, self._keepalive.next_look(time.monotonic())))
        self._timer = self.loop.call_later(delay, self._look)

    def _look(self) -> None:
        now = self._now = time.monotonic()
        verdict = self._keepalive.look(now, in_use=bool(self.streams))
        if verdict is Verdict.DEAD:
            self.abort(f"no answer to a probe within {self.config.keepalive_timeout:g} s")
            return
        if verdict is Verdict.PROBE:
            self._probe()
        for stream in [stream for stream, until in self._lingering.items() if until <= now]:
            self.reset(stream, ErrorCodes.CANCEL)
        self._connection.fit_budget(now)
        self.flush()
        self._set_timer()


def _tune(transport: asyncio.Transport, unsent: int) -> None:
    """Sends small writes at once, and keeps little unsent in the kernel, where no scheduler of ours reaches it."""
    sock = transport.get_extra_info("socket")
    if sock is None or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if sys.platform == "linux":
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, unsent)
    except OSError as error:
        log.debug("socket options: %s", error)
