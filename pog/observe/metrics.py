"""Every metric. Names carry their unit; those of the Go original are kept letter by letter.

METRIC_NAMESPACE goes before every name but grpc_io_*, which the original takes from OpenCensus: the default views of
google.golang.org/grpc/stats/opencensus v1.0.0, with their help texts, labels and buckets.

/metrics is open to anyone who can reach the port, so no label helps an attacker: failed logins are
one number, without user and without reason. The values of every label come from a set of our own.

How a number gets to the page: events add to a count (counters.py), states are read off when a page is asked for
(collectors.py), and both go into prometheus_client's own objects right before these are written. So they are counters,
gauges and histograms of the common kind, which workers can share: when prometheus_client is imported with
PROMETHEUS_MULTIPROC_DIR set, every worker flushes its numbers once a second, and the page of any of them shows the sum
over all (for some gauges the largest or the smallest). Only the gauge of open tunnels is set at once.
"""

from __future__ import annotations

import platform
import re
from http import HTTPStatus
from typing import TYPE_CHECKING

import prometheus_client
from prometheus_client import CollectorRegistry
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.openmetrics import exposition as openmetrics

import pog
from pog.errors import DIAL_KINDS
from pog.observe.collectors import SHARED, Http2Collector, LoopCollector, ProcessStats, TunnelCollector
from pog.observe.counters import Maker
from pog.observe.endings import ENDED_BY, ending
from pog.observe.exits import ExitMetrics
from pog.observe.rpcs import RpcMetrics
from pog.process.output import STDERR
from pog.tunnel.ended import Reason, Side
from pog.wire.http_fields import accepted

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from grpclib.const import Status
    from prometheus_client.metrics_core import Metric

    from pog.config.settings import CommonSettings
    from pog.observe.collectors import Session
    from pog.observe.endings import Role
    from pog.tunnel.live import Tunnels
    from pog.tunnel.relay import Relay

# The original has no such series, and they double the length of the page.
prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]

# Either side of a relay ends it for these reasons, the relay itself for the others.
_BY_SIDES = (Reason.DONE, Reason.RESET)
# Values of the label `code`: HTTP's statuses, and 499 of the client's own, for a user who left before the answer.
_HTTP_STATUSES = frozenset(str(status.value) for status in HTTPStatus) | {"499"}


class Metrics:
    """The metrics of one server or one client, in a registry of their own, so that one process can hold both."""

    def __init__(self, role: Role, settings: CommonSettings, tunnels: Tunnels) -> None:
        self._role = role
        self._tunnels = tunnels
        self.registry = CollectorRegistry()
        # The first in the registry: the others are fresh when their turn comes.
        self.registry.register(_Before(self.collect))
        self._maker = maker = Maker(self.registry, settings.metric_namespace)

        # The original's.
        self._open = maker.gauge("tunnelling_connections_total", "Number of connections tunneling through the proxy.")
        self._auth_expiry = maker.gauge(
            "auth_item_earliest_expiry", "Returns earliest auth item expiry in unixtime", "name", merge="livemin"
        )
        self._rpcs = RpcMetrics(role, maker) if settings.grpc_builtin_metrics else None

        # Ours.
        self._tunnel_collector = TunnelCollector(maker, tunnels, Side.TUNNEL if role == "server" else Side.LOCAL)
        self.opened = maker.count("tunnels_opened_total", "Tunnels opened.")
        ended = maker.counter("tunnels_ended_total", "Tunnels ended, by who ended them and why.", "by", "reason")
        self._ended = {
            by: maker.within(
                ended, (each.value for each in Reason if (each in _BY_SIDES) == (side is not Side.RELAY)), by
            )
            for side, by in ENDED_BY[role].items()
        }
        self._refused = maker.counts(
            "tunnels_refused_total", "Tunnels that were asked for and not opened, by the code in the log.", "code"
        )
        self.handshake_seconds = maker.seconds(
            "handshake_duration_seconds", "Time from the request for a tunnel to the answer that it is open."
        )
        self.first_byte_seconds = maker.seconds(
            "first_byte_duration_seconds",
            "Time from the user's first byte, or the opening when the destination speaks first, to the answer's first.",
        )
        self._auth_failures = maker.count("auth_failures_total", "Credentials refused.")
        self.log_dropped = maker.count(
            "log_records_dropped_total",
            "Records of the access log that were dropped because their reader was too slow.",
        )
        self._messages_dropped = maker.count(
            "log_messages_dropped_total", "Messages that were dropped because their reader was too slow."
        )
        self._dropped_before = STDERR.dropped
        if role == "server":
            self._make_for_server(maker)
        else:
            self._make_for_client(maker)
        self._http2 = Http2Collector(maker)
        self._loop = LoopCollector(maker, self._flush)
        self._process = ProcessStats(maker)
        build = maker.gauge("build_info", "Always 1.", "version", "python", merge="livemax")
        build.labels(pog.__version__, platform.python_version()).set(1)

    def _make_for_server(self, maker: Maker) -> None:
        results = ["ok", *(kind.value for kind in DIAL_KINDS)]
        self._dials = maker.counts("dials_total", "Attempts to connect to a destination, by result.", "result", results)
        self._dial_seconds = maker.seconds(
            "dial_duration_seconds", "Time that connecting to a destination took, or failed."
        )

    def _make_for_client(self, maker: Maker) -> None:
        self.waiters = maker.gauge("waiting_requests", "Requests of users that wait for a server to be reached.")
        self._mux_errors = maker.counts(
            "server_client_metrics_mux_errors_total", "Number of errors while getting pog server's /metrics", "name"
        )
        self._connects = maker.counts(
            "server_connects_total", "Attempts to connect to the server, by result.", "result", ("ok", "failed")
        )
        self._connect_seconds = maker.seconds(
            "server_connect_duration_seconds",
            "Time that connecting to the server took, or failed, with TLS and SETTINGS.",
        )

        self.exits = ExitMetrics(maker)

    def start(self) -> None:
        """Begins to watch the running event loop."""
        self._loop.start()

    def close(self) -> None:
        """Ends the watch of the loop, and leaves the last numbers to the other workers."""
        self._loop.stop()
        self.collect()

    # Events

    def tunnel_opened(self, handshake_seconds: float) -> None:
        """The registry has it already."""
        self.opened.inc()
        self.handshake_seconds.observe(handshake_seconds)
        if SHARED:
            self._open.set(len(self._tunnels))

    def tunnel_ended(self, relay: Relay) -> None:
        """The registry has it no more; a relay that has not ended was cancelled."""
        by, reason = ending(self._role, relay)
        self._ended[by][reason].inc()
        if SHARED:
            self._open.set(len(self._tunnels))

    def refused(self, code: str) -> None:
        """`code` is the log's: a status of HTTP, which a server may have made up, or of gRPC, which is ours."""
        self._refused[code if code in _HTTP_STATUSES or not code.isdecimal() else "other"].inc()

    def dialled(self, result: str, seconds: float) -> None:
        """A destination was dialled; `result` is "ok" or the value of a FailureKind."""
        self._dials[result].inc()
        self._dial_seconds.observe(seconds)

    def server_dialled(self, *, ok: bool, seconds: float) -> None:
        """The server was dialled."""
        self._connects["ok" if ok else "failed"].inc()
        self._connect_seconds.observe(seconds)

    def session_opened(self, session: Session) -> None:
        """An HTTP/2 connection is there; its end is noticed."""
        self._http2.opened(session)

    def auth_expiry(self, prefix: str, earliest: datetime) -> None:
        self._auth_expiry.labels(prefix).set(int(earliest.timestamp()))

    def auth_failed(self) -> None:
        self._auth_failures.inc()

    def mux_errors(self, name: str) -> None:
        """`name` is one of the original's: GET, not_2XX, copy, and ok."""
        self._mux_errors[name].inc()

    def rpc_started(self, method: str) -> None:
        """`method` is one of our own services', without the leading slash: a stranger must not make up labels."""
        if self._rpcs:
            self._rpcs.started[method].inc()

    def rpc_completed(self, method: str, status: Status, seconds: float, bytes_in: int = 0, bytes_out: int = 0) -> None:
        """The bytes are those of the messages, without framing, as the original counts them."""
        if self._rpcs:
            self._rpcs.completed(method, status, seconds, bytes_in, bytes_out)

    # The page

    def collect(self) -> None:
        """Brings everything up to date."""
        self._open.set(len(self._tunnels))
        self._flush(True)

    def render(self, openmetrics_wanted: bool = False) -> tuple[bytes, str]:
        """The page for a scraper and its content type."""
        registry = self.registry
        if SHARED:
            self.collect()
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        write = openmetrics.generate_latest if openmetrics_wanted else prometheus_client.generate_latest
        page: bytes = write(registry)
        # prometheus_client ends every counter with _total, the original only its own: the same in both formats.
        page = re.sub(rb"(?m)^(# HELP |# TYPE |)(grpc_io_(?:server|client)_\w+_rpcs)_total", rb"\1\2", page)
        if not openmetrics_wanted:
            return page, prometheus_client.CONTENT_TYPE_PLAIN_0_0_4
        # There a counter must end so; Go writes those that do not as of unknown type.
        page = re.sub(rb"(?m)^(# TYPE grpc_io_(?:server|client)_\w+_rpcs) counter$", rb"\1 unknown", page)
        return page, openmetrics.CONTENT_TYPE_LATEST

    def _flush(self, process_too: bool) -> None:
        self._tunnel_collector.collect()
        self._http2.collect()
        if self._role == "client":
            self.exits.collect()
        self._messages_dropped.raise_to(STDERR.dropped - self._dropped_before)
        if process_too:
            self._process.collect()
        self._maker.flush()


class _Before:
    """A collector without metrics: it has the others brought up to date when its turn comes, which is first."""

    def __init__(self, update: Callable[[], None]) -> None:
        self._update = update

    def collect(self) -> list[Metric]:
        self._update()
        return []


def wants_openmetrics(accept: str) -> bool:
    """Whether a scraper's Accept field names OpenMetrics and prefers it to text; Prometheus does, a browser does not.

    `accept` is all lines of the field, joined by commas. The versions are those that `render` writes.
    """
    openmetrics = accepted(accept, "application/openmetrics-text", "1.0.0")
    text = accepted(accept, "text/plain", "0.0.4")
    return openmetrics.named and openmetrics.weight > 0 and openmetrics.weight >= text.weight
