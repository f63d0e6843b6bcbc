"""The names of all metrics of both ends, as a scraper sees them."""

from __future__ import annotations

from pog.metrics import Metrics
from pog.settings import Address, ClientSettings, ServerSettings

_SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}


def metrics() -> dict[str, set[str]]:
    """The name of each metric, with _total where it ends so → the names of its series."""
    ends = (
        Metrics("server", ServerSettings()),
        Metrics("client", ClientSettings(server_addr=Address("127.0.0.1", 1))),
    )
    found = {}
    for end in ends:
        for family in end.registry.collect():
            suffixes = _SUFFIXES[family.type]
            if family.name.startswith("grpc_io_") and family.type == "counter":
                suffixes = ("",)  # as OpenCensus has them
            series = {family.name + suffix for suffix in suffixes}
            found[family.name if len(series) > 1 else series.copy().pop()] = series
    return found


def series() -> set[str]:
    """The names of all series."""
    return set().union(*metrics().values())
