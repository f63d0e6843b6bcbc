"""The metrics of a client's exits. Their label takes the names of the configuration, and only where there is a choice:
the name of a single exit is an address, and /metrics is open to anyone who can reach the port."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pog.observe.counters import Maker


class ExitMetrics:
    """By the name of an exit: `opened` tunnels, `failures`, and first flights that went on from it (`repeated`)."""

    def __init__(self, maker: Maker) -> None:
        self.opened = maker.counts("exit_tunnels_opened_total", "Tunnels opened, by exit.", "exit")
        self.failures = maker.counts(
            "exit_failures_total", "Requests that an exit could not serve, for a fault of its own.", "exit"
        )
        self.repeated = maker.counts(
            "exit_first_flights_repeated_total",
            "Tunnels through an exit that broke before an answer, and whose first bytes went on to another one.",
            "exit",
        )
        self._up = maker.gauge("exit_up", "1 while tunnels can go through an exit, else 0.", "exit", merge="livemin")
        self._states: Callable[[], Mapping[str, bool]] = dict
        self._shown: set[str] = set()

    def watch(self, states: Callable[[], Mapping[str, bool]]) -> None:
        """`states` says of each exit whether tunnels can go through it now."""
        self._states = states
        for name in states():
            _ = self.opened[name], self.failures[name], self.repeated[name]

    def collect(self) -> None:
        """Brings the gauge up to date; an exit that is gone from the configuration is gone from it too."""
        states = self._states()
        for name, up in states.items():
            self._up.labels(name).set(up)
        for name in self._shown - set(states):
            self._up.remove(name)
        self._shown = set(states)
