"""The limits of silence, without a clock: a test says when the relay looks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pog.tunnel.ended import Ended, Reason, Side, State
from pog.tunnel.relay import Relay
from tests.tunnel.model import Model

if TYPE_CHECKING:
    from collections.abc import Callable

HIGH = 100_000


class Timer:
    """One that runs when it is told to."""

    def __init__(self, action: Callable[[], None]) -> None:
        self.action = action
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class Bench:
    """A relay between two models, and its timers."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.timers: list[Timer] = []
        monkeypatch.setattr("pog.tunnel.silence.after", self._after)
        later: list[Callable[[], None]] = []
        self.local = Model("local", later, high=HIGH, low=0)
        self.tunnel = Model("tunnel", later, high=HIGH, low=0)
        self.tunnel.reading = True
        self.ends: list[Ended] = []
        self.relay = Relay(self.local, self.tunnel, idle_timeout=4, half_close_timeout=4, on_end=self.ends.append)
        self.relay.start()

    def _after(self, seconds: float, action: Callable[[], None]) -> Timer:
        assert seconds == 1
        self.timers.append(Timer(action))
        return self.timers[-1]

    def second(self) -> None:
        """What is due now; a relay has one timer."""
        due, self.timers = [timer for timer in self.timers if not timer.cancelled], []
        assert len(due) <= 1
        for timer in due:
            timer.action()

    def seconds(self, count: int) -> None:
        for _ in range(count):
            self.second()


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(monkeypatch)


def test_a_silent_tunnel_is_idle(bench: Bench) -> None:
    bench.seconds(3)
    assert bench.ends == []
    bench.seconds(2)
    assert [how.reason for how in bench.ends] == [Reason.IDLE]


@pytest.mark.parametrize("slow", ["local", "tunnel"])
@pytest.mark.parametrize("half_closed", [False, True])
def test_a_reader_that_is_slow_is_not_silent(bench: Bench, slow: str, half_closed: bool) -> None:
    """Nothing more comes in: the sender is stopped until the reader has taken what waits."""
    source, sink = (bench.tunnel, bench.local) if slow == "local" else (bench.local, bench.tunnel)
    source.arrive(HIGH + 1)
    assert sink.full and not source.reading
    if half_closed:
        sink.end()
    for _ in range(20):
        sink.take(100)
        bench.second()
    assert bench.ends == []
    bench.seconds(5)
    assert [how.reason for how in bench.ends] == [Reason.HALF_CLOSED if half_closed else Reason.IDLE]


@pytest.mark.parametrize("slow", ["local", "tunnel"])
def test_at_the_end_a_reader_at_either_side_has_the_limit(bench: Bench, slow: str) -> None:
    source, sink = (bench.tunnel, bench.local) if slow == "local" else (bench.local, bench.tunnel)
    source.arrive(1000)
    source.end()
    sink.end()
    assert bench.relay.state is State.CLOSING
    for _ in range(9):
        sink.take(100)
        bench.second()
    assert bench.ends == []
    bench.seconds(5)
    assert [(how.reason, how.side) for how in bench.ends] == [(Reason.HALF_CLOSED, Side.RELAY)]
    assert bench.local.closing
