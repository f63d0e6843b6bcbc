"""What is not counted as it happens but read off when a page is asked for: open tunnels, connections, loop, process.

It costs nothing while nobody asks, whatever the traffic; to read off ten thousand tunnels takes some milliseconds.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Protocol

from h2.errors import ErrorCodes
from prometheus_client import ProcessCollector, values

from pog.http2.session import PROCESS_BUDGET
from pog.http2.stats import Stats
from pog.tunnel.ended import Side, State

if TYPE_CHECKING:
    from collections.abc import Callable

    from prometheus_client import Gauge

    from pog.http2.stats import Levels
    from pog.observe.counters import Count, Maker
    from pog.tunnel.live import Tunnels

# Whether workers share their values in files; prometheus_client decides that when it is imported.
SHARED: bool = values.ValueClass is not values.MutexValue

# A shorter lag is noticed only by chance. It is also how often an idle process wakes up; seconds.
_LAG_INTERVAL = 0.5
# Values that workers share are flushed every second interval; the process's own, which take longer the more descriptors
# are open, at every fifth flush.
_INTERVALS_PER_FLUSH = 2
_FLUSHES_PER_PROCESS = 5

# RFC 9113 section 7; a peer may send any number.
_CODES = {code.value: code.name for code in ErrorCodes}
_OTHER = "other"


class TunnelCollector:
    """Open tunnels by state, and the bytes that they and those before them have moved."""

    def __init__(self, maker: Maker, tunnels: Tunnels, user_side: Side) -> None:
        """`user_side` is the side of a relay that what goes up comes from."""
        self._tunnels = tunnels
        self._user_side = user_side
        states = maker.gauge(
            "tunnels", "Tunnels by state: opening, open in both directions, half-closed, or sending a rest.", "state"
        )
        self._opening = states.labels("opening")
        self._states = {state: states.labels(state.value) for state in State}
        moved = maker.counts(
            "tunnel_bytes_total", "Bytes moved; up is from user to destination.", "direction", ("up", "down")
        )
        self._up, self._down = moved["up"], moved["down"]

    def collect(self) -> None:
        """Brings the gauges and counters up to date."""
        found = dict.fromkeys(State, 0)
        tunnels = self._tunnels
        local, tunnel = tunnels.ended_from_local, tunnels.ended_from_tunnel
        for record in tunnels:
            relay = record.relay
            assert relay is not None
            found[relay.state] += 1
            local += relay.from_local
            tunnel += relay.from_tunnel
        for state, count in found.items():
            self._states[state].set(count)
        self._opening.set(tunnels.opening)
        up, down = (local, tunnel) if self._user_side is Side.LOCAL else (tunnel, local)
        self._up.raise_to(up)
        self._down.raise_to(down)


class Session(Protocol):
    """What is asked of an HTTP/2 connection."""

    stats: Stats
    closed: asyncio.Future[str]

    @property
    def active(self) -> int:
        """Streams open now."""

    @property
    def rtt(self) -> float | None:
        """The shortest round trip measured lately, in seconds."""

    def snapshot(self) -> Levels:
        """What it holds at this moment; brings `stats` up to date."""


class Http2Collector:
    """The HTTP/2 connections: those that are there, and the totals of all that ever were."""

    def __init__(self, maker: Maker) -> None:
        self._live: set[Session] = set()
        self._gone = Stats()
        self._opened = maker.count("http2_connections_opened_total", "HTTP/2 connections made.")
        self._connections = maker.gauge("http2_connections", "HTTP/2 connections.")
        self._streams = maker.gauge("http2_streams", "Streams open on all HTTP/2 connections.")
        self._fullest = maker.gauge(
            "http2_fullest_connection_streams", "Streams open on the connection that has most.", merge="livemax"
        )
        self._streams_opened = maker.count("http2_streams_opened_total", "Streams opened, by either side.")
        self._rtt = maker.gauge(
            "http2_rtt_seconds", "Round trip of the connection where it is longest; 0 is not measured.", merge="livemax"
        )
        self._stalled = maker.gauge("http2_stalled_streams", "Streams with data that wait for the peer's window now.")
        scope = ("stream", "connection")
        self._stalls = maker.counts("http2_stalls_total", "Waits for the peer's window, by window.", "window", scope)
        self._stall_seconds = maker.counts(
            "http2_stall_seconds_total", "Time of those waits; waits at the same time add up.", "window", scope
        )
        buffered = maker.gauge(
            "buffered_bytes", "Bytes in memory: received and not taken yet, or waiting to be sent.", "direction"
        )
        self._held, self._unsent = buffered.labels("receive"), buffered.labels("send")
        limit = maker.gauge("receive_buffer_limit_bytes", "Most bytes that may be received and not taken yet.")
        limit.set(PROCESS_BUDGET.limit)
        resets = maker.counter("http2_resets_total", "RST_STREAM frames by error code of HTTP/2.", "direction", "code")
        goaways = maker.counter("http2_goaways_total", "GOAWAY frames by error code of HTTP/2.", "direction", "code")
        # Under the names that they have in Stats.
        self._frames = {
            "resets_sent": maker.within(resets, (), "sent"),
            "resets_received": maker.within(resets, (), "received"),
            "goaways_sent": maker.within(goaways, (), "sent"),
            "goaways_received": maker.within(goaways, (), "received"),
        }

    def opened(self, session: Session) -> None:
        self._live.add(session)
        self._opened.inc()
        session.closed.add_done_callback(lambda _: self._closed(session))

    def _closed(self, session: Session) -> None:
        self._live.discard(session)
        session.snapshot()
        self._gone.add(session.stats)

    def collect(self) -> None:
        total = Stats()
        total.add(self._gone)
        stalled = held = unsent = 0
        for session in self._live:
            levels = session.snapshot()
            total.add(session.stats)
            stalled, held, unsent = stalled + levels.stalled, held + levels.buffered, unsent + levels.unsent
        streams = [session.active for session in self._live]
        self._connections.set(len(streams))
        self._streams.set(sum(streams))
        self._fullest.set(max(streams, default=0))
        self._rtt.set(max((session.rtt or 0.0 for session in self._live), default=0.0))
        self._stalled.set(stalled)
        self._held.set(held)
        self._unsent.set(unsent)
        self._update(total)

    def _update(self, total: Stats) -> None:
        self._streams_opened.raise_to(total.streams)
        self._stalls["stream"].raise_to(total.stream_stalls)
        self._stalls["connection"].raise_to(total.connection_stalls)
        self._stall_seconds["stream"].raise_to(total.stream_stall_seconds)
        self._stall_seconds["connection"].raise_to(total.connection_stall_seconds)
        for name, counts in self._frames.items():
            by_name: dict[str, int] = {}
            for code, count in getattr(total, name).items():
                known = _CODES.get(code, _OTHER)
                by_name[known] = by_name.get(known, 0) + count
            for known, count in by_name.items():
                counts[known].raise_to(count)


class LoopCollector:
    """The lag of the event loop: how late a timer fires."""

    def __init__(self, maker: Maker, flush: Callable[[bool], None]) -> None:
        """`flush` is called regularly where several workers share their values; true: with the process's own."""
        self._lag = maker.seconds("event_loop_lag_seconds", "How late a timer of the event loop was, sampled.")
        self._flush = flush
        self._ticks = 0
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """In a running loop; once more does nothing."""
        if self._timer is None:
            self._wait(asyncio.get_running_loop())

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wait(self, loop: asyncio.AbstractEventLoop) -> None:
        self._due = time.monotonic() + _LAG_INTERVAL
        self._timer = loop.call_later(_LAG_INTERVAL, self._tick, loop)

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        self._lag.observe(max(0.0, time.monotonic() - self._due))
        self._ticks += 1
        if SHARED and self._ticks % _INTERVALS_PER_FLUSH == 0:
            self._flush(self._ticks % (_INTERVALS_PER_FLUSH * _FLUSHES_PER_PROCESS) == 0)
        self._wait(loop)


class ProcessStats:
    """The kernel's figures about this process. Those of workers add up; the start is the oldest worker's."""

    def __init__(self, maker: Maker) -> None:
        self._collector = ProcessCollector(maker.space, registry=None if SHARED else maker.registry)
        self._maker = maker
        self._gauges: dict[str, Gauge] = {}
        self._cpu: Count | None = None

    def collect(self) -> None:
        """Only where values are shared: otherwise the collector is part of the page itself."""
        for family in self._collector.collect() if SHARED else ():
            name = family.name.removeprefix(f"{self._maker.space}_" if self._maker.space else "")
            value = family.samples[0].value
            if family.type == "counter":
                self._cpu = self._cpu or self._maker.count(name, family.documentation)
                self._cpu.raise_to(value)
                continue
            if name not in self._gauges:
                merge = "livemin" if name.endswith("start_time_seconds") else "livesum"
                self._gauges[name] = self._maker.gauge(name, family.documentation, merge=merge)
            self._gauges[name].set(value)
