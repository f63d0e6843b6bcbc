"""Every metric, declared once. Names carry their unit; those of the Go original are kept letter by letter.

METRIC_NAMESPACE goes before every name but grpc_io_*, which the original takes from OpenCensus: the default views of
google.golang.org/grpc/stats/opencensus v1.0.0, with their help texts, labels and buckets.

/metrics is open to whoever reaches the port, so no label tells what an attacker would like to know: failed logins are
one number, without user and without reason.
"""

from __future__ import annotations

import platform
import re
from typing import TYPE_CHECKING

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.openmetrics import exposition as openmetrics

import pog

if TYPE_CHECKING:
    from datetime import datetime
    from typing import Literal

    from grpclib.const import Status

    from pog.relay import Ended
    from pog.settings import CommonSettings

    Role = Literal["server", "client"]

# The original has no such series, and they double the length of the page.
prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]

# From a dial on one's own network to the default DIAL_TIMEOUT and beyond.
SECONDS_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

# bytesDistributionBounds and millisecondsDistribution of stats/opencensus/stats.go.
RPC_BYTES_BUCKETS = (1024, 2048, *(4**power for power in range(6, 17)))
RPC_MILLISECONDS_BUCKETS = (
    *(0.01, 0.05, 0.1, 0.3, 0.6, 0.8, 1, 2, 3, 4, 5, 6, 8, 10, 13, 16, 20, 25, 30, 40, 50, 65, 80, 100, 130, 160, 200),
    *(250, 300, 400, 500, 650, 800, 1000, 2000, 5000, 10000, 20000, 50000, 100000),
)


class Metrics:
    """The metrics of one server or one client, in a registry of their own, so that one process can hold both."""

    def __init__(self, role: Role, settings: CommonSettings) -> None:
        space = settings.metric_namespace
        self.registry = registry = CollectorRegistry()

        def counter(name: str, help: str, *labels: str) -> Counter:
            return Counter(name, help, labels, namespace=space, registry=registry)

        def seconds(name: str, help: str) -> Histogram:
            return Histogram(name, help, namespace=space, registry=registry, buckets=SECONDS_BUCKETS)

        # The original's.
        self.tunnels = Gauge(
            "tunnelling_connections_total",
            "Number of connections tunneling through the proxy.",
            namespace=space,
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._auth_expiry = Gauge(
            "auth_item_earliest_expiry",
            "Returns earliest auth item expiry in unixtime",
            ["name"],
            namespace=space,
            registry=registry,
            multiprocess_mode="min",
        )
        self._mux_errors = counter(
            "server_client_metrics_mux_errors_total", "Number of errors while getting pog server's /metrics", "name"
        )
        self._rpcs = RpcMetrics(role, registry) if settings.grpc_builtin_metrics else None

        # Ours.
        self.opened = counter("tunnels_opened_total", "Tunnels opened.")
        self._ended = counter("tunnels_ended_total", "Tunnels ended, by reason.", "reason")
        moved = counter("tunnel_bytes_total", "Bytes of ended tunnels; up is from user to destination.", "direction")
        self.bytes_up, self.bytes_down = moved.labels("up"), moved.labels("down")
        self._dials = counter("dials_total", "Attempts to connect to a destination, by result.", "result")
        self.dial_seconds = seconds("dial_duration_seconds", "Time that connecting to a destination took, or failed.")
        self.handshake_seconds = seconds(
            "handshake_duration_seconds", "Time from a user's request to the answer that the tunnel is open."
        )
        self.auth_failures = counter("auth_failures_total", "Credentials refused.")
        self.waiters = Gauge(
            "waiting_requests",
            "Requests of users that wait for a server to be reached.",
            namespace=space,
            registry=registry,
            multiprocess_mode="livesum",
        )
        build = Gauge("build_info", "Always 1.", ["version", "python"], namespace=space, registry=registry)
        build.labels(pog.__version__, platform.python_version()).set(1)
        ProcessCollector(namespace=space, registry=registry)

    def tunnel_opened(self) -> None:
        self.tunnels.inc()
        self.opened.inc()

    def tunnel_ended(self, ended: Ended | None, *, up: int, down: int) -> None:
        """Once for every tunnel_opened. `ended` is None when the tunnel was cancelled."""
        self.tunnels.dec()
        self._ended.labels("cancelled" if ended is None else ended.reason.value).inc()
        self.bytes_up.inc(up)
        self.bytes_down.inc(down)

    def dialled(self, result: str, seconds: float) -> None:
        """`result` is "ok" or the value of a DialKind."""
        self._dials.labels(result).inc()
        self.dial_seconds.observe(seconds)

    def auth_expiry(self, prefix: str, earliest: datetime) -> None:
        self._auth_expiry.labels(prefix).set(int(earliest.timestamp()))

    def mux_errors(self, name: str) -> None:
        """`name` is one of the original's: GET, not_2XX, copy, and ok."""
        self._mux_errors.labels(name).inc()

    def rpc_started(self, method: str) -> None:
        """`method` is one of our own services', without the leading slash: a stranger must not make up labels."""
        if self._rpcs:
            self._rpcs.started.labels(method).inc()

    def rpc_completed(self, method: str, status: Status, seconds: float, bytes_in: int = 0, bytes_out: int = 0) -> None:
        """The bytes are those of the messages, without framing, as the original counts them."""
        if self._rpcs:
            self._rpcs.completed.labels(method, status.name).inc()
            self._rpcs.milliseconds.labels(method).observe(seconds * 1000)
            self._rpcs.received.labels(method).observe(bytes_in)
            self._rpcs.sent.labels(method).observe(bytes_out)

    def render(self, openmetrics_wanted: bool = False) -> tuple[bytes, str]:
        """The page for a scraper and its content type."""
        page: bytes
        if openmetrics_wanted:
            page = openmetrics.generate_latest(self.registry)  # type: ignore[no-untyped-call]
            return page, openmetrics.CONTENT_TYPE_LATEST
        page = prometheus_client.generate_latest(self.registry)
        # prometheus_client ends every counter with _total; Go does so in OpenMetrics, where it is the rule, not here.
        page = re.sub(rb"(?m)^(# HELP |# TYPE |)(grpc_io_(?:server|client)_\w+_rpcs)_total", rb"\1\2", page)
        return page, prometheus_client.CONTENT_TYPE_PLAIN_0_0_4


class RpcMetrics:
    """What OpenCensus counts of gRPC calls, with one role in every name."""

    def __init__(self, role: Role, registry: CollectorRegistry) -> None:
        method, status = f"grpc_{role}_method", f"grpc_{role}_status"

        def counter(name: str, help: str, *labels: str) -> Counter:
            return Counter(f"grpc_io_{role}_{name}", help, labels, registry=registry)

        def histogram(name: str, help: str, buckets: tuple[float, ...]) -> Histogram:
            return Histogram(f"grpc_io_{role}_{name}", help, [method], registry=registry, buckets=buckets)

        self.started = counter("started_rpcs", f"Number of opened {role} RPCs, by method.", method)
        self.completed = counter("completed_rpcs", "Number of completed RPCs by method and status.", method, status)
        self.received = histogram(
            "received_bytes_per_rpc", "Distribution of received bytes per RPC, by method.", RPC_BYTES_BUCKETS
        )
        self.sent = histogram("sent_bytes_per_rpc", "Distribution of sent bytes per RPC, by method.", RPC_BYTES_BUCKETS)
        latency, help = {
            "server": ("server_latency", "Distribution of server latency in milliseconds, by method."),
            "client": ("roundtrip_latency", "Distribution of round-trip latency, by method."),
        }[role]
        self.milliseconds = histogram(latency, help, RPC_MILLISECONDS_BUCKETS)


def wants_openmetrics(accept: str | None) -> bool:
    """Whether a scraper's Accept field names OpenMetrics; Prometheus does, a browser does not."""
    kinds = [part.split(";") for part in (accept or "").lower().split(",")]
    return any(
        kind.strip() == "application/openmetrics-text" and not any(re.fullmatch(r"\s*q=0(\.0*)?\s*", p) for p in params)
        for kind, *params in kinds
    )
