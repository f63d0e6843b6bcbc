import asyncio
import sys
import time
from typing import cast

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from pog.config.server_settings import ServerSettings
from pog.http2.session import PROCESS_BUDGET, Session
from pog.http2.stats import Levels, Stats
from pog.observe import collectors
from pog.observe.collectors import Http2Collector, LoopCollector
from pog.observe.counters import Maker
from pog.observe.metrics import Metrics
from pog.tunnel.live import Tunnels
from tests.helpers.process import Program
from tests.helpers.user import samples


class FakeSession:
    def __init__(self) -> None:
        self.stats = Stats()
        self.closed: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.active = 0
        self.rtt: float | None = None
        self.levels = Levels(0, 0, 0)

    def snapshot(self) -> Levels:
        return self.levels


async def test_connections_that_are_gone_still_count() -> None:
    registry = CollectorRegistry()
    maker = Maker(registry, "")
    http2 = Http2Collector(maker)
    first, second = FakeSession(), FakeSession()

    def value(name: str, **labels: str) -> float | None:
        http2.collect()
        maker.flush()
        return registry.get_sample_value(name, labels)

    http2.opened(cast("Session", first))
    http2.opened(cast("Session", second))
    first.active, second.active = 3, 7
    first.rtt, first.levels, second.levels = 0.25, Levels(2, 1000, 20), Levels(1, 5, 5)
    first.stats.streams, second.stats.streams = 30, 70
    first.stats.stream_stalls, first.stats.connection_stall_seconds = 4, 1.5
    first.stats.resets_sent[8] = 2
    second.stats.resets_sent.update({8: 1, 0xBAD: 5, 0xBAD2: 6})
    second.stats.goaways_received[0] = 1
    assert value("http2_connections") == 2
    assert (value("http2_streams"), value("http2_fullest_connection_streams")) == (10, 7)
    assert value("http2_rtt_seconds") == 0.25
    assert value("http2_stalled_streams") == 3
    assert value("buffered_bytes", direction="receive") == 1005
    assert value("buffered_bytes", direction="send") == 25
    assert value("receive_buffer_limit_bytes") == PROCESS_BUDGET.limit

    first.closed.set_result("closed")
    await asyncio.sleep(0)
    second.stats.streams = 71
    assert (value("http2_connections"), value("http2_connections_opened_total")) == (1, 2)
    assert value("http2_streams_opened_total") == 101
    assert value("http2_stalls_total", window="stream") == 4
    assert value("http2_stall_seconds_total", window="connection") == 1.5
    assert value("http2_resets_total", direction="sent", code="CANCEL") == 3
    assert value("http2_resets_total", direction="sent", code="other") == 11
    assert value("http2_goaways_total", direction="received", code="NO_ERROR") == 1


async def test_a_loop_that_is_held_up_shows() -> None:
    registry = CollectorRegistry()
    maker = Maker(registry, "")
    loop_collector = LoopCollector(maker, lambda _: None)
    loop_collector.start()
    loop_collector.start()
    try:
        await asyncio.sleep(0)
        time.sleep(0.6)  # noqa: ASYNC251  # the very thing that is to be seen
        await asyncio.sleep(0.01)
    finally:
        loop_collector.stop()
    maker.flush()
    assert registry.get_sample_value("event_loop_lag_seconds_count") == 1
    assert 0.05 < (registry.get_sample_value("event_loop_lag_seconds_sum") or 0) < 0.6


_WORKER = """
import sys
from pog.observe.metrics import Metrics
from pog.config.server_settings import ServerSettings
from tests.helpers.relay import Counted, FakeRelay
counted = Counted("server", ServerSettings())
metrics = counted.metrics
for _ in range(int(sys.argv[1])):
    counted.open(FakeRelay(1, 20))
metrics.dialled("ok", 0.25)
print("tunnels", [family.samples[0].value for family in metrics.registry.collect() if "tunnelling" in family.name][0])
metrics.close()
print(metrics.render()[0].decode())
"""


def test_the_page_of_one_worker_is_the_sum_over_all(tmp_path_factory: pytest.TempPathFactory) -> None:
    environ = {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path_factory.mktemp("shared"))}
    pages = []
    for count in (2, 3):
        worker = Program([sys.executable, "-c", _WORKER, str(count)], environ)
        assert worker.wait() == 0, worker.output()
        pages.append("\n".join(worker.stdout[1:]) + "\n")
    found = samples(pages[1])
    assert found["tunnelling_connections_total"] == 5
    assert found["tunnels_opened_total"] == 5
    assert found['tunnels{state="open"}'] == 5
    assert found['tunnel_bytes_total{direction="up"}'] == 100
    assert found['dial_duration_seconds_bucket{le="0.25"}'] == found["dial_duration_seconds_count"] == 2
    assert found["receive_buffer_limit_bytes"] == 2 * PROCESS_BUDGET.limit
    assert found["process_resident_memory_bytes"] > samples(pages[0])["process_resident_memory_bytes"]
    assert found["process_cpu_seconds_total"] > samples(pages[0])["process_cpu_seconds_total"]
    assert found["process_start_time_seconds"] == samples(pages[0])["process_start_time_seconds"]
    assert [value for name, value in found.items() if name.startswith("build_info")] == [1]
    assert not any("pid=" in name for name in found)
    # Nothing is missing, and nothing has another type or help, when it is shared.
    alone = Metrics("server", ServerSettings(), Tunnels()).render()[0].decode()
    assert not collectors.SHARED

    def families(page: str) -> set[tuple[str, str, str]]:
        return {(each.name, each.type, each.documentation) for each in text_string_to_metric_families(page)}

    without_samples = {"auth_item_earliest_expiry", "http2_resets", "http2_goaways", "tunnels_refused"}
    missing = {each for each in families(alone) - families(pages[1]) if not each[0].startswith("grpc_io_")}
    assert {name for name, _, _ in missing} <= without_samples
    assert families(pages[1]) <= families(alone)
