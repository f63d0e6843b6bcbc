import pytest
from prometheus_client import CollectorRegistry, Counter, Histogram

from pog.observe.counters import SECONDS_BUCKETS, Count, Maker, Spread


def test_a_count_is_told_once() -> None:
    registry = CollectorRegistry()
    count = Count(Counter("a_total", "a", registry=registry))
    count.inc()
    count.inc(2.5)
    assert registry.get_sample_value("a_total") == 0
    for _ in range(2):
        count.flush()
        assert registry.get_sample_value("a_total") == 3.5


def test_what_somebody_else_counts_never_falls() -> None:
    registry = CollectorRegistry()
    count = Count(Counter("a_total", "a", registry=registry))
    for total, shown in ((5, 5), (5, 5), (3, 5), (7, 7)):
        count.raise_to(total)
        count.flush()
        assert registry.get_sample_value("a_total") == shown


@pytest.mark.parametrize("values", [[0.0], [0.25, 0.25, 0.3, 30.0, 31.0, 1e9], [-1.0], [*SECONDS_BUCKETS]])
def test_a_spread_tells_what_prometheus_client_would_have_seen(values: list[float]) -> None:
    """The parts of its histogram are private: this fails the day that they have other names."""
    registry = CollectorRegistry()
    spread = Spread(Histogram("ours", "h", registry=registry, buckets=SECONDS_BUCKETS))
    theirs = Histogram("theirs", "h", registry=registry, buckets=SECONDS_BUCKETS)
    for _ in range(2):
        for value in values:
            spread.observe(value)
            theirs.observe(value)
        spread.flush()
        mine, other = registry.collect()
        assert [sample[1:3] for sample in mine.samples] == [sample[1:3] for sample in other.samples]


def test_known_labels_show_from_the_beginning() -> None:
    registry = CollectorRegistry()
    maker = Maker(registry, "space")
    results = maker.counts("dials_total", "d", "result", ("ok", "refused"))
    results["ok"].inc()
    results["late"].inc()
    maker.flush()
    shown = {name: registry.get_sample_value("space_dials_total", {"result": name}) for name in results}
    assert shown == {"ok": 1, "refused": 0, "late": 1}
