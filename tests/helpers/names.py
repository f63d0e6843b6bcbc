"""The names of all metrics of both ends, as a scraper sees them."""

from __future__ import annotations

import re

from pog.config.client_settings import ClientSettings
from pog.config.server_settings import ServerSettings
from pog.net.address import Address
from pog.observe.metrics import Metrics
from pog.tunnel.live import Tunnels

_SUFFIXES = {"gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}
# In text a name is told as its series have it; in OpenMetrics a counter's without the _total that they must have.
_OF_TEXT = _SUFFIXES | {"counter": ("",)}
_OF_OPENMETRICS = _SUFFIXES | {"counter": ("_total",), "unknown": ("",)}


def metrics(*, openmetrics: bool = False) -> dict[str, set[str]]:
    """The name of each metric, with _total where it ends so → the names of its series; by what the page declares."""
    ends = (
        Metrics("server", ServerSettings(), Tunnels()),
        Metrics("client", ClientSettings(server_addr=Address("127.0.0.1", 1)), Tunnels()),
    )
    suffixes = _OF_OPENMETRICS if openmetrics else _OF_TEXT
    found = {}
    for end in ends:
        page = end.render(openmetrics)[0].decode()
        for name, kind in re.findall(r"^# TYPE (\S+) (\S+)$", page, re.MULTILINE):
            series = {name + suffix for suffix in suffixes[kind]}
            found[name if len(series) > 1 else series.copy().pop()] = series
    return found


def series(*, openmetrics: bool = False) -> set[str]:
    """The names of all series."""
    return set().union(*metrics(openmetrics=openmetrics).values())
