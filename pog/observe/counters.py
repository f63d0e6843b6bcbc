"""Counts that cost little where they are made, and are passed on to prometheus_client when a page is asked for.

prometheus_client locks for each step: 0.4 µs a counter, 1.1 µs a histogram, 1.4 µs to find a label, and three times
that where several workers share their values in files. A tunnel takes about twenty steps. Here a step is an addition,
and `flush` passes on what has come together since the last time.

For one thread only: that of the event loop.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Protocol, TypeVar

from prometheus_client import Counter, Gauge, Histogram

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client import CollectorRegistry

# From a dial on one's own network to the default DIAL_TIMEOUT and beyond.
SECONDS_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Accumulator(Protocol):
    """Something that has to be flushed before a page is written."""

    def flush(self) -> None:
        """Passes on what is new."""


T = TypeVar("T", bound=Accumulator)


class Count:
    """One counter. What happens here is counted by `inc`; what somebody else counts is taken over by `raise_to`."""

    __slots__ = ("_child", "_fresh", "_seen")

    def __init__(self, child: Counter) -> None:
        self._child = child
        self._fresh = 0.0
        self._seen = 0.0

    def inc(self, amount: float = 1) -> None:
        self._fresh += amount

    def raise_to(self, total: float) -> None:
        """Somebody else has counted up to `total`."""
        if total > self._seen:
            self._fresh += total - self._seen
            self._seen = total

    def flush(self) -> None:
        fresh, self._fresh = self._fresh, 0.0
        if fresh:
            self._child.inc(fresh)


class Counts(dict[str, Count]):
    """The counters of one name, by the value of its last label; `before` are the values of the labels before it.

    A new value makes a new counter, so values come from sets of our own, never from a stranger.
    """

    def __init__(self, counter: Counter, *before: str) -> None:
        super().__init__()
        self._counter = counter
        self._before = before

    def __missing__(self, value: str) -> Count:
        count = self[value] = Count(self._counter.labels(*self._before, value))
        return count

    def flush(self) -> None:
        for count in self.values():
            count.flush()


class Spread:
    """One histogram."""

    __slots__ = ("_bounds", "_child", "_fresh", "_sum")

    def __init__(self, child: Histogram) -> None:
        self._child = child
        self._bounds = child._upper_bounds
        self._fresh = [0] * len(self._bounds)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        self._fresh[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def flush(self) -> None:
        """As Histogram.observe, but for many at a time; a test fails the day that its parts have other names."""
        if any(self._fresh):
            for bucket, fresh in zip(self._child._buckets, self._fresh, strict=True):
                if fresh:
                    bucket.inc(fresh)
            self._child._sum.inc(self._sum)
            self._fresh = [0] * len(self._bounds)
            self._sum = 0.0


class Maker:
    """Makes the metrics of one registry, and keeps what has to be flushed. `space` goes before every name."""

    def __init__(self, registry: CollectorRegistry, space: str) -> None:
        self.registry = registry
        self.space = space
        self._accumulators: list[Accumulator] = []

    def flush(self) -> None:
        for each in self._accumulators:
            each.flush()

    def keep(self, accumulator: T) -> T:
        self._accumulators.append(accumulator)
        return accumulator

    def count(self, name: str, help: str) -> Count:
        return self.keep(Count(self.counter(name, help)))

    def counts(self, name: str, help: str, label: str, values: Iterable[str] = ()) -> Counts:
        return self.within(self.counter(name, help, label), values)

    def within(self, counter: Counter, values: Iterable[str], *before: str) -> Counts:
        """Values that are known show as 0 from the beginning, so that the first event is an increase."""
        counts = self.keep(Counts(counter, *before))
        for value in values:
            _ = counts[value]
        return counts

    def seconds(self, name: str, help: str) -> Spread:
        return self.spread(Histogram(name, help, namespace=self.space, registry=self.registry, buckets=SECONDS_BUCKETS))

    def spread(self, histogram: Histogram) -> Spread:
        return self.keep(Spread(histogram))

    def counter(self, name: str, help: str, *labels: str) -> Counter:
        return Counter(name, help, labels, namespace=self.space, registry=self.registry)

    def gauge(self, name: str, help: str, *labels: str, merge: str = "livesum") -> Gauge:
        """`merge` is what the values of several workers become: a multiprocess_mode of prometheus_client."""
        mode = {"multiprocess_mode": merge}
        return Gauge(name, help, labels, namespace=self.space, registry=self.registry, **mode)  # type: ignore[arg-type]
