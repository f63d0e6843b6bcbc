"""The asyncio shell of a connection, the same for both roles: reads, drain, and the end.

    data_received  ->  connection  ->  events  ->  streams        never waits for any of them
    stream.write   ->  its queue   ->  writer  ->  transport      never more than a little beyond what the socket takes

What it is to its streams is in streams.py, when output is written in writer.py, and what time does in watch.py.
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
from h2.settings import SettingCodes

from pog.http2.config import BULK_BYTES, SessionConfig
from pog.http2.events import ConnectionFailed, DataReceived, GoAwayReceived, ProbeAnswered, StreamFailed, WindowOpened
from pog.http2.frames import LARGEST_STREAM_ID
from pog.http2.stats import Levels
from pog.http2.stream import Stream
from pog.http2.streams import Streams
from pog.http2.windows import Budget

if TYPE_CHECKING:
    from collections.abc import Callable

    from pog.http2.fields import Headers

log = logging.getLogger(__name__)

# A peer that takes no output may make us answer so much (acknowledgements, resets) before it is cut off.
_MOST_UNSENT_ANSWERS = 4 * 1024 * 1024
# A failed connection is closed after its GOAWAY was sent, or after this many seconds.
_CLOSE_TIMEOUT = 5.0

PROCESS_BUDGET = Budget(256 * 1024 * 1024)


class Session(Streams, asyncio.Protocol):
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
        loop = asyncio.get_running_loop()
        super().__init__(
            client=client, config=config or SessionConfig(), loop=loop, budget=budget, on_request=on_request
        )
        self.closed: asyncio.Future[str] = loop.create_future()
        self._on_stream_end = on_stream_end
        self._on_draining = on_draining
        self._on_closed = on_closed
        self._transport: asyncio.Transport | None = None
        self._gone = False
        self._until_settings: asyncio.TimerHandle | None = None
        self._early: list[bytes] = []
        self._upgrade: tuple[bytes, Headers] | None = None
        # A server's drain: the probe between its two GOAWAYs, and the last stream that it takes.
        self._drain_probe = b""
        self._last_stream_id = LARGEST_STREAM_ID
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
            StreamFailed: self._stream_failed,
            RemoteSettingsChanged: self._settings_changed,
            SettingsAcknowledged: lambda _: self._watch.settings_acknowledged(self._now),
            PingAckReceived: lambda event: self._probe_answered(event.ping_data),
            ProbeAnswered: lambda event: self._probe_answered(event.token),
            GoAwayReceived: self._goaway_received,
            ConnectionFailed: self._failed,
        }

    # For owners

    def open_stream(self, headers: Headers, content: bytes = b"", *, end_stream: bool = False) -> Stream:
        """A new stream, opened as by `open`. Raises StreamsExhausted and ConnectionLost."""
        stream = Stream(self)
        self.open(stream, headers, content, end_stream=end_stream)
        return stream

    @property
    def rtt(self) -> float | None:
        """The shortest round trip measured lately, in seconds."""
        return self._watch.rtt

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
        if self.draining:
            return
        self.draining = True
        if not self.client:
            # RFC 9113 section 6.8: requests that are on their way are still taken, for one round trip.
            self._go_away(LARGEST_STREAM_ID)
            self._drain_probe = self._watch.probe()
        self._close_when_idle()
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

    def is_closing(self) -> bool:
        return not self._open or self._transport is None or self._transport.is_closing()

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
        self._open = not self._gone
        self._writer.start(transport)
        transport.set_write_buffer_limits(high=self.config.transport_high)
        _tune(transport, self.config.unsent_high)
        self._writer.corked = True
        if self._upgrade is None:
            self._connection.initiate()
        else:
            self._begin_upgraded(*self._upgrade)
        self._writer.corked = False
        if self._open:
            self._watch.start()
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
        stream = self._add(Stream(self), machine)
        stream.on_headers(headers)
        stream.on_end()
        self._give_request(stream)

    def data_received(self, data: bytes) -> None:
        now = self._now = time.monotonic()
        self._watch.received(now)
        self.stats.bytes_received += len(data)
        writer = self._writer
        writer.corked = True
        streams = self.streams
        for event in self._connection.receive_data(data, now):
            if type(event) is DataReceived:
                stream = streams.get(event.stream_id)
                if stream is not None:
                    try:
                        stream.on_data(event.data)
                    except Exception:
                        self.broken(stream)
            else:
                self._handle(event)
        self._watch.took_in(len(data), now)
        writer.corked = False
        writer.flush()
        if len(data) >= BULK_BYTES or self._connection.unfinished:
            self._let_others_read()
        if writer.full and self._transport is not None:
            if self._transport.get_write_buffer_size() > _MOST_UNSENT_ANSWERS:
                self.abort("the peer does not read what it asks for")

    def _let_others_read(self) -> None:
        """libuv reads a socket that has much up to 32 times before it looks at the next one: 8 MB, or 10 ms."""
        if self._transport is not None and self._open:
            self._transport.pause_reading()
            self.loop.call_soon(self._read_on)

    def _read_on(self) -> None:
        if self._open and self._connection.unfinished:
            self.data_received(b"")  # which comes back here when even that was not all
            if self._connection.unfinished:
                return
        if self._transport is not None and self._open:
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
            self.broken(stream)

    def eof_received(self) -> None:
        """The transport closes itself: HTTP/2 knows no half-closed connection."""
        while self._connection.unfinished:
            self.data_received(b"")
        self._reason = self._reason or "closed by the peer"

    def connection_lost(self, exc: Exception | None) -> None:
        self._lose(self._reason or (str(exc) if exc is not None else "closed"))

    def _lose(self, reason: str) -> None:
        if self._gone:
            return
        self._gone = self.draining = True
        self._reason = reason
        self._writer.stop()
        self._watch.stop()
        if self._until_settings is not None:
            self._until_settings.cancel()
        self._lose_all(reason)
        if not self.closed.done():
            self.closed.set_result(reason)
        if self._on_closed is not None:
            self._on_closed(self, reason)

    def pause_writing(self) -> None:
        self._writer.full = True

    def resume_writing(self) -> None:
        self._writer.full = False
        self._writer.flush()

    # From the connection

    def _takes(self, stream_id: int) -> bool:
        return stream_id <= self._last_stream_id

    def _room_made(self) -> None:
        self._close_when_idle()
        if self._on_stream_end is not None and self._open:
            self._on_stream_end(self)

    def _check_settings(self) -> None:
        if not self._settings_known:
            self.abort(f"no SETTINGS from the peer within {self.config.settings_timeout:g} s")

    def _settings_changed(self, event: RemoteSettingsChanged) -> None:
        self._settings_known = True
        if SettingCodes.INITIAL_WINDOW_SIZE in event.changed_settings:
            for stream in self.streams.values():
                self._connection.window_opened(stream.queue)
        if self._on_stream_end is not None:
            self._on_stream_end(self)

    def _probe_answered(self, token: bytes) -> None:
        self._watch.answered(token, self._now)
        if token == self._drain_probe:
            self._drain_probe = b""
            self._last_stream_id = self._connection.machine.highest_inbound_stream_id
            self._go_away(self._last_stream_id)
            self._close_when_idle()

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
        self._writer.corked = False
        self._writer.flush()
        if self._transport is not None:
            self._transport.close()
            self.loop.call_later(_CLOSE_TIMEOUT, self._transport.abort)
        self._lose(reason)

    def _go_away(self, last_stream_id: int | None) -> None:
        self.stats.goaways_sent[ErrorCodes.NO_ERROR] += 1
        self._connection.go_away(ErrorCodes.NO_ERROR, last_stream_id=last_stream_id)

    def _close_when_idle(self) -> None:
        if self.draining and not self._drain_probe and not self.streams and self._transport is not None:
            self.loop.call_soon(self._close)

    def _close(self) -> None:
        if self.streams or self._transport is None or not self._open:
            return
        self._reason = self._reason or "drained"
        if self.client:
            self._go_away(None)
        self._writer.flush()
        self._transport.close()


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
