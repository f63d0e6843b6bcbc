"""How a connection ends in order: it takes no new streams, and closes with the last one."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from h2.errors import ErrorCodes

from pog.http2.frames import LARGEST_STREAM_ID

if TYPE_CHECKING:
    from collections.abc import Callable

    from pog.http2.endpoint import Endpoint
    from pog.http2.events import GoAwayReceived
    from pog.http2.liveness import Liveness
    from pog.http2.streams import Streams

log = logging.getLogger(__name__)


class Drain:
    """`begun`: no new streams are taken. `close` is called, perhaps several times, when none is open any more."""

    def __init__(self, endpoint: Endpoint, streams: Streams, liveness: Liveness, *, close: Callable[[], None]) -> None:
        self.begun = False
        self._endpoint = endpoint
        self._streams = streams
        self._liveness = liveness
        self._close = close
        # The probe between a server's two GOAWAYs.
        self._probe = b""

    def begin(self) -> None:
        if self.begun:
            return
        self.begun = True
        if not self._endpoint.client:
            # RFC 9113 section 6.8: requests that are on their way are still taken, for one round trip.
            self.go_away(LARGEST_STREAM_ID)
            self._probe = self._liveness.probe()
        self.close_if_idle()

    def probe_answered(self, token: bytes) -> None:
        """The peer has answered some probe."""
        if token == self._probe:
            # Everything that was on its way has come: the second GOAWAY names the last stream.
            self._probe = b""
            last = self._endpoint.connection.last_peer_stream_id
            self._streams.last_accepted_id = last
            self.go_away(last)
            self.close_if_idle()

    def goaway_received(self, event: GoAwayReceived) -> bool:
        """The peer takes no more streams. Returns whether that is news: a server's peer opens them itself."""
        self._endpoint.stats.goaways_received[event.error_code] += 1
        log.debug("GOAWAY with error code %d: %s", event.error_code, event.debug[:200])
        news = self._endpoint.client and not self.begun
        if news:
            self.begun = True
        return news

    def close_if_idle(self) -> None:
        if self.begun and not self._probe and not self._streams.open and self._endpoint.transport is not None:
            self._endpoint.loop.call_soon(self._close)

    def go_away(self, last_stream_id: int | None) -> None:
        """Sends GOAWAY without an error; None is for the last stream that the peer has opened."""
        self._endpoint.stats.goaways_sent[ErrorCodes.NO_ERROR] += 1
        self._endpoint.connection.go_away(ErrorCodes.NO_ERROR, last_stream_id=last_stream_id)
