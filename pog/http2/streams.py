"""The streams of one connection: how they begin, what the peer does on them, and how they end with the connection."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from h2.errors import ErrorCodes

from pog.errors import ConnectionLost, ProtocolViolation, TunnelReset
from pog.http2.frames import LARGEST_STREAM_ID
from pog.http2.scheduler import SendQueue
from pog.http2.stream import Stream

if TYPE_CHECKING:
    from collections.abc import Callable

    from h2.events import RequestReceived, ResponseReceived, StreamEnded, StreamReset, TrailersReceived

    from pog.http2.endpoint import Endpoint
    from pog.http2.events import StreamFailed, WindowOpened
    from pog.http2.fields import Headers
    from pog.http2.machine_stream import MachineStream

log = logging.getLogger(__name__)


class Streams:
    """The table of open streams, by identifier.

    `on_request` gets each new stream of a server when its headers are there. `last_accepted_id`: requests above it came
    too late, and are refused.
    """

    def __init__(self, endpoint: Endpoint, on_request: Callable[[Stream], None] | None) -> None:
        self.open: dict[int, Stream] = {}
        self.last_accepted_id = LARGEST_STREAM_ID
        self._endpoint = endpoint
        self._connection = endpoint.connection
        self._stats = endpoint.stats
        self._on_request = on_request

    def add(self, stream: Stream, machine: MachineStream) -> None:
        """The stream, which was created before, is open from now on."""
        stream.begin(machine, SendQueue(machine, stream))
        self.open[machine.stream_id] = stream
        self._stats.streams += 1

    def remove(self, stream_id: int) -> bool:
        """The stream is over. Returns whether it was there."""
        stream = self.open.pop(stream_id, None)
        if stream is None:
            return False
        self._connection.outbound.stream_stalls.end(stream.queue)
        return True

    def begin_upgraded(self, machine: MachineStream, headers: Headers) -> None:
        """Stream 1 of a connection that began with an HTTP/1.1 request, which has no content."""
        stream = Stream(self._endpoint)
        self.add(stream, machine)
        stream.on_headers(headers)
        stream.on_end()
        self._give_request(stream)

    def _give_request(self, stream: Stream) -> None:
        if self._on_request is None:
            stream.abort(ErrorCodes.REFUSED_STREAM)
        else:
            self._on_request(stream)

    # What the peer does

    def request_received(self, event: RequestReceived) -> None:
        assert event.stream_id is not None
        machine = self._connection.stream(event.stream_id)
        if machine is None:
            return  # reset by its own peer in the same piece of input
        if event.stream_id > self.last_accepted_id:
            # RFC 9113 section 6.8: it is above the last stream of our GOAWAY.
            self._stats.resets_sent[ErrorCodes.REFUSED_STREAM] += 1
            self._connection.reset_stream(machine, ErrorCodes.REFUSED_STREAM)
            return
        stream = Stream(self._endpoint)
        self.add(stream, machine)
        stream.on_headers(event.headers)  # type: ignore[arg-type]  # text, by Machine
        if event.stream_ended is not None:
            stream.on_end()
        self._give_request(stream)

    def response_received(self, event: ResponseReceived) -> None:
        stream = self.open.get(event.stream_id)
        if stream is not None:
            stream.on_headers(event.headers)  # type: ignore[arg-type]  # text, by Machine

    def trailers_received(self, event: TrailersReceived) -> None:
        stream = self.open.get(event.stream_id)
        if stream is not None:
            stream.on_trailers(event.headers)  # type: ignore[arg-type]  # text, by Machine

    def stream_ended(self, event: StreamEnded) -> None:
        stream = self.open.get(event.stream_id)
        if stream is not None and not stream.ended:
            stream.on_end()
            stream.close_if_done()

    def stream_reset(self, event: StreamReset) -> None:
        resets = self._stats.resets_received if event.remote_reset else self._stats.resets_sent
        resets[int(event.error_code)] += 1
        stream = self.open.get(event.stream_id)
        if stream is None:
            return
        stream.closed()
        if stream.client and stream.ended:
            # RFC 9113 section 8.1: after a complete answer it only says that the rest of the request is not wanted.
            stream.stop_sending()
        else:
            stream.on_lost(TunnelReset(int(event.error_code), by_peer=bool(event.remote_reset)))

    def stream_failed(self, event: StreamFailed) -> None:
        self._stats.resets_sent[event.error_code] += 1
        log.debug("stream %d: %s", event.stream_id, event.reason)
        stream = self.open.get(event.stream_id)
        if stream is not None:
            stream.closed()
            stream.on_lost(ProtocolViolation(f"the peer broke a rule of HTTP/2: {event.reason}"))

    def window_opened(self, event: WindowOpened) -> None:
        stream = self.open.get(event.stream_id)
        if stream is not None:
            self._connection.outbound.window_opened(stream.queue)

    def windows_changed(self) -> None:
        """The peer's INITIAL_WINDOW_SIZE has changed, which concerns every stream (RFC 9113 section 6.9.2)."""
        for stream in self.open.values():
            self._connection.outbound.window_opened(stream.queue)

    # Time, and the end

    def reset_late(self, now: float) -> None:
        """Resets the streams whose deadline has passed."""
        for queue in self._endpoint.deadlines.passed(now):
            if queue.owner is not None:
                queue.owner.abort(ErrorCodes.CANCEL)

    def lose_all(self, reason: str) -> None:
        """The connection is gone."""
        streams = [*self.open.values()]
        self.open.clear()
        self._endpoint.deadlines.clear()
        self._connection.forget_streams()
        for stream in streams:
            stream.on_lost(ConnectionLost(reason))
