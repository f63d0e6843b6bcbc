"""The asyncio shell of a connection, the same for both roles: reads, drain, and the end.

    data_received  ->  connection  ->  events  ->  streams        never waits for any of them
    stream.write   ->  its queue   ->  writer  ->  transport      never more than a little beyond what the socket takes

What a stream does is in stream.py and flow.py, their table in streams.py, when output is written in writer.py, and the
checks of the peer in liveness.py.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, cast

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
from h2.settings import SettingCodes

from pog.errors import ConnectionLost, StreamsExhausted
from pog.http2.config import BULK_BYTES, SessionConfig
from pog.http2.connection import Connection
from pog.http2.drain import Drain
from pog.http2.endpoint import Endpoint
from pog.http2.events import (
    ConnectionFailed,
    DataReceived,
    GoAwayReceived,
    ProbeAnswered,
    StreamFailed,
    WindowOpened,
)
from pog.http2.liveness import Liveness
from pog.http2.stats import Levels
from pog.http2.stream import Stream
from pog.http2.streams import Streams
from pog.http2.tuning import tune
from pog.http2.windows import Budget
from pog.http2.writer import Writer

if TYPE_CHECKING:
    from collections.abc import Callable

    from pog.http2.fields import Headers

# How many bytes of answers (acknowledgements, resets) may wait for a peer that takes no output before it is cut off.
_MOST_UNSENT_ANSWERS = 4 * 1024 * 1024
# A failed connection is closed after its GOAWAY was sent, or after this many seconds.
_CLOSE_TIMEOUT = 5.0
# Streams that a peer allows before its SETTINGS have come: RFC 9113 section 6.5.2 recommends no fewer.
_CAPACITY_BEFORE_SETTINGS = 100

PROCESS_BUDGET = Budget(256 * 1024 * 1024)


class Session(asyncio.Protocol):
    """One connection. To be created in the loop that it lives in. `clock` gives the time in seconds.

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
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.client = client
        self.config = config = config or SessionConfig()
        self.loop = loop = asyncio.get_running_loop()
        self.closed: asyncio.Future[str] = loop.create_future()
        self._clock = clock
        self._connection = Connection(config, budget, client=client, clock=clock)
        self._writer = Writer(self._connection, loop)
        self._endpoint = Endpoint(
            client=client,
            config=config,
            loop=loop,
            clock=clock,
            connection=self._connection,
            writer=self._writer,
            budget=budget,
            on_stream_closed=self._stream_closed,
        )
        self.stats = self._endpoint.stats
        self.streams = Streams(self._endpoint, on_request)
        self._liveness = Liveness(self._connection, config, loop, clock, on_check=self._check, on_dead=self.abort)
        self._drain = Drain(self._endpoint, self.streams, self._liveness, close=self._close)
        self._on_stream_end = on_stream_end
        self._on_draining = on_draining
        self._on_closed = on_closed
        self._transport: asyncio.Transport | None = None
        self._gone = False
        self._settings_known = False
        self._until_settings: asyncio.TimerHandle | None = None
        self._early: list[bytes] = []
        self._upgrade: tuple[bytes, Headers] | None = None
        # The time of the piece of input that is being handled.
        self._now = clock()
        # When the connection was last seen in use, and how many streams there had been.
        self._used_at = self._now
        self._used_streams = 0
        streams = self.streams
        self._handlers: dict[type[Any], Callable[[Any], None]] = {
            WindowOpened: streams.window_opened,
            RequestReceived: streams.request_received,
            ResponseReceived: streams.response_received,
            TrailersReceived: streams.trailers_received,
            StreamEnded: streams.stream_ended,
            StreamReset: streams.stream_reset,
            StreamFailed: streams.stream_failed,
            RemoteSettingsChanged: self._settings_changed,
            SettingsAcknowledged: lambda _: self._liveness.settings_acknowledged(self._now),
            PingAckReceived: lambda event: self._probe_answered(event.ping_data),
            ProbeAnswered: lambda event: self._probe_answered(event.token),
            GoAwayReceived: self._goaway_received,
            ConnectionFailed: self._failed,
        }

    # For owners

    @property
    def draining(self) -> bool:
        """Whether no new streams are taken."""
        return self._drain.begun

    @property
    def active(self) -> int:
        """Streams open now."""
        return self._connection.active

    @property
    def capacity(self) -> int:
        """Streams that may be opened now, beside those that are open."""
        if self._drain.begun or not self._endpoint.open:
            return 0
        capacity = self._connection.capacity
        return capacity if self._settings_known else min(capacity, _CAPACITY_BEFORE_SETTINGS - self.active)

    @property
    def rtt(self) -> float | None:
        """The shortest round trip measured lately, in seconds."""
        return self._liveness.rtt

    def open_stream(self, headers: Headers, content: bytes = b"", *, end_stream: bool = False) -> Stream:
        """Opens a stream: sends its request, and what is known of the content.

        Raises StreamsExhausted when there is no `capacity`, ConnectionLost, and ValueError for headers that may not be
        sent.
        """
        if not self._endpoint.open:
            raise ConnectionLost(self._endpoint.reason or "not connected")
        if self.capacity <= 0:
            raise StreamsExhausted("the connection is draining" if self._drain.begun else "the connection is full")
        stream = Stream(self._endpoint)
        self.streams.add(stream, self._connection.open_stream(headers, end_stream=end_stream))
        if end_stream:
            stream.queue.ends = stream.queue.finished = True
        elif content:
            stream.data_sent += len(content)
            self._connection.outbound.enqueue(stream.queue, [content], len(content))
        self._liveness.stream_opened()
        self._writer.soon()
        return stream

    def snapshot(self) -> Levels:
        """The state of this moment; also brings the stalls in `stats` up to date."""
        stats, outbound = self.stats, self._connection.outbound
        of_streams, of_connection = outbound.stream_stalls, outbound.connection_stalls
        stats.stream_stalls, stats.stream_stall_seconds = of_streams.count, of_streams.seconds_so_far
        stats.connection_stalls, stats.connection_stall_seconds = of_connection.count, of_connection.seconds_so_far
        streams = self.streams.open.values()
        return Levels(
            stalled=len(of_streams),
            buffered=sum(stream.buffered for stream in streams),
            unsent=sum(stream.queue.size for stream in streams),
        )

    def drain(self) -> None:
        """Takes no new streams. Live ones go on; with the last one the connection closes."""
        self._drain.begin()
        self._writer.flush()

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

    # The transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not checked: uvloop's transports are none of asyncio's classes.
        transport = cast("asyncio.Transport", transport)
        self._transport = self._endpoint.transport = transport
        self._endpoint.open = not self._gone
        self._writer.start(transport)
        transport.set_write_buffer_limits(high=self.config.transport_high)
        tune(transport, self.config.unsent_high)
        self._writer.corked = True
        if self._upgrade is None:
            self._connection.initiate()
        else:
            self._begin_upgraded(*self._upgrade)
        self._writer.corked = False
        if self._endpoint.open:
            self._liveness.start()
            self._until_settings = self.loop.call_later(self.config.settings_timeout, self._check_settings)
        early, self._early = self._early, []
        for data in early:
            self.data_received(data)
        self._writer.flush()

    def _begin_upgraded(self, settings_header: bytes, headers: Headers) -> None:
        try:
            machine = self._connection.initiate_upgrade(settings_header)
        except ProtocolError as error:
            self.abort(str(error))
            return
        self.streams.begin_upgraded(machine, headers)

    def data_received(self, data: bytes) -> None:
        now = self._now = self._clock()
        self._liveness.received(now)
        writer = self._writer
        writer.corked = True
        streams = self.streams.open
        for event in self._connection.receive_data(data, now):
            if type(event) is DataReceived:
                stream = streams.get(event.stream_id)
                if stream is not None:
                    try:
                        stream.on_data(event.data)
                    except Exception:
                        stream.fail()
            else:
                self._handle(event)
        self._liveness.handled(len(data), now)
        writer.corked = False
        writer.flush()
        if len(data) >= BULK_BYTES or self._connection.unfinished:
            self._let_others_read()
        if writer.full and self._transport is not None:
            if self._transport.get_write_buffer_size() > _MOST_UNSENT_ANSWERS:
                self.abort("the peer does not read what it asks for")

    def _let_others_read(self) -> None:
        """libuv reads a socket that has much up to 32 times before it turns to the next one: 8 MB, or 10 ms."""
        if self._transport is not None and self._endpoint.open:
            self._transport.pause_reading()
            self.loop.call_soon(self._read_on)

    def _read_on(self) -> None:
        if self._endpoint.open and self._connection.unfinished:
            self.data_received(b"")  # which comes back here when even that was not all
            if self._connection.unfinished:
                return
        if self._transport is not None and self._endpoint.open:
            self._transport.resume_reading()

    def _handle(self, event: Any) -> None:
        handler = self._handlers.get(type(event))
        if handler is None:
            return
        try:
            handler(event)
        except Exception:
            stream = self.streams.open.get(getattr(event, "stream_id", None) or 0)
            if stream is None:
                raise
            stream.fail()

    def eof_received(self) -> None:
        """The transport closes itself: HTTP/2 knows no half-closed connection."""
        while self._connection.unfinished:
            self.data_received(b"")
        self._endpoint.reason = self._endpoint.reason or "closed by the peer"

    def connection_lost(self, exc: Exception | None) -> None:
        self._lose(self._endpoint.reason or (str(exc) if exc is not None else "closed"))

    def _lose(self, reason: str) -> None:
        if self._gone:
            return
        self._gone = self._drain.begun = True
        self._endpoint.reason = reason
        self._writer.stop()
        self._liveness.stop()
        if self._until_settings is not None:
            self._until_settings.cancel()
        self._endpoint.open = False
        self.streams.lose_all(reason)
        if not self.closed.done():
            self.closed.set_result(reason)
        if self._on_closed is not None:
            self._on_closed(self, reason)

    def pause_writing(self) -> None:
        self._writer.full = True

    def resume_writing(self) -> None:
        self._writer.full = False
        self._writer.flush()

    # What happens to the connection

    def _stream_closed(self, stream_id: int) -> None:
        if self.streams.remove(stream_id):
            self._drain.close_if_idle()
            if self._on_stream_end is not None and self._endpoint.open:
                self._on_stream_end(self)

    def _check_settings(self) -> None:
        if not self._settings_known:
            self.abort(f"no SETTINGS from the peer within {self.config.settings_timeout:g} s")

    def _settings_changed(self, event: RemoteSettingsChanged) -> None:
        self._settings_known = True
        if SettingCodes.INITIAL_WINDOW_SIZE in event.changed_settings:
            self.streams.windows_changed()
        if self._on_stream_end is not None:
            self._on_stream_end(self)

    def _probe_answered(self, token: bytes) -> None:
        self._liveness.answered(token, self._now)
        self._drain.probe_answered(token)

    def _goaway_received(self, event: GoAwayReceived) -> None:
        if self._drain.goaway_received(event) and self._on_draining is not None:
            self._on_draining(self)
        self._drain.close_if_idle()

    def _failed(self, event: ConnectionFailed) -> None:
        self.stats.goaways_sent[event.error_code] += 1
        reason = f"the peer broke the protocol (HTTP/2 error code {event.error_code:#x}): {event.reason}"
        self._writer.corked = False
        self._writer.flush()
        if self._transport is not None:
            self._transport.close()
            self.loop.call_later(_CLOSE_TIMEOUT, self._transport.abort)
        self._lose(reason)

    def _close(self) -> None:
        if self.streams.open or self._transport is None or not self._endpoint.open:
            return
        self._endpoint.reason = self._endpoint.reason or "drained"
        if self.client:
            self._drain.go_away(None)
        self._writer.flush()
        self._transport.close()

    def _check(self, now: float) -> None:
        """From time to time: deadlines of streams, credit that memory allows by now, and a connection out of use."""
        self._now = now
        self.streams.reset_late(now)
        self._connection.return_credit()
        if self.streams.open or self.stats.streams != self._used_streams:
            self._used_at, self._used_streams = now, self.stats.streams
        elif not self.client and now - self._used_at >= self.config.idle:
            self.drain()
        self._writer.flush()
