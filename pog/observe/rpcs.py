"""What OpenCensus counts of gRPC calls, under the names of the Go original: the default views of OpenCensus, as in
google.golang.org/grpc/stats/opencensus v1.0.0, with their help texts, labels and buckets."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from prometheus_client import Counter, Histogram

from pog.observe.counters import Counts, Spread

if TYPE_CHECKING:
    from grpclib.const import Status

    from pog.observe.counters import Maker
    from pog.observe.endings import Role

# bytesDistributionBounds and millisecondsDistribution of stats/opencensus/stats.go.
RPC_BYTES_BUCKETS = (1024, 2048, *(4**power for power in range(6, 17)))
RPC_MILLISECONDS_BUCKETS = (
    *(0.01, 0.05, 0.1, 0.3, 0.6, 0.8, 1, 2, 3, 4, 5, 6, 8, 10, 13, 16, 20, 25, 30, 40, 50, 65, 80, 100, 130, 160, 200),
    *(250, 300, 400, 500, 650, 800, 1000, 2000, 5000, 10000, 20000, 50000, 100000),
)


class RpcMetrics:
    """What OpenCensus counts of gRPC calls, with one role in every name."""

    def __init__(self, role: Role, maker: Maker) -> None:
        self._maker = maker
        method, status = f"grpc_{role}_method", f"grpc_{role}_status"

        def counter(name: str, help: str, *labels: str) -> Counter:
            return Counter(f"grpc_io_{role}_{name}", help, labels, registry=maker.registry)

        def histogram(name: str, help: str, buckets: tuple[float, ...]) -> Histogram:
            return Histogram(f"grpc_io_{role}_{name}", help, [method], registry=maker.registry, buckets=buckets)

        started = counter("started_rpcs", f"Number of opened {role} RPCs, by method.", method)
        self.started = maker.keep(Counts(started))
        self._completed = counter("completed_rpcs", "Number of completed RPCs by method and status.", method, status)
        self._received = histogram(
            "received_bytes_per_rpc", "Distribution of received bytes per RPC, by method.", RPC_BYTES_BUCKETS
        )
        self._sent = histogram(
            "sent_bytes_per_rpc", "Distribution of sent bytes per RPC, by method.", RPC_BYTES_BUCKETS
        )
        latency, help = {
            "server": ("server_latency", "Distribution of server latency in milliseconds, by method."),
            "client": ("roundtrip_latency", "Distribution of round-trip latency, by method."),
        }[role]
        self._milliseconds = histogram(latency, help, RPC_MILLISECONDS_BUCKETS)
        self._methods: dict[str, _Method] = {}

    def completed(self, method: str, status: Status, seconds: float, bytes_in: int, bytes_out: int) -> None:
        counts = self._methods.get(method) or self._of_method(method)
        counts.statuses[status.name].inc()
        counts.milliseconds.observe(seconds * 1000)
        counts.received.observe(bytes_in)
        counts.sent.observe(bytes_out)

    def _of_method(self, method: str) -> _Method:
        maker = self._maker
        counts = self._methods[method] = _Method(
            maker.within(self._completed, (), method),
            *(maker.keep(Spread(each.labels(method))) for each in (self._milliseconds, self._received, self._sent)),
        )
        return counts


class _Method(NamedTuple):
    """What is counted of the completed calls of one method."""

    statuses: Counts
    milliseconds: Spread
    received: Spread
    sent: Spread
