"""The parent of workers, on an operating system that a script plays; with real processes: tests/e2e/test_workers.py."""

from __future__ import annotations

import os
import selectors
import signal
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client import multiprocess

from pog.cli.workers import Parent, WorkersFailed
from pog.config.server_settings import ServerSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class System:
    """Processes, signals, pipes and time. Worker processes are numbers; the parent is the only real code."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        # What happens while the parent waits; each step gets the system and how long the parent would wait, seconds.
        self.script: list[Callable[[System, float | None], None]] = []
        self.alive: list[int] = []
        self.killed: list[tuple[int, int]] = []
        self.dead_numbers: list[int] = []
        self._ended: list[tuple[int, int]] = []
        self._next_pid = 100
        self._pipes: list[tuple[int, int]] = []
        make_pipe = os.pipe

        def pipe() -> tuple[int, int]:
            self._pipes.append(made := make_pipe())
            return made

        for module, name, stand_in in (
            (os, "pipe", pipe),
            (os, "fork", self._fork),
            (os, "waitpid", self._wait),
            (os, "kill", self._kill),
            (time, "monotonic", lambda: self.now),
            (signal, "signal", lambda *_: None),
            (signal, "set_wakeup_fd", lambda *_, **__: -1),
            (signal, "pthread_sigmask", lambda *_: None),
            (selectors, "DefaultSelector", lambda: self),
            (multiprocess, "mark_process_dead", self.dead_numbers.append),
        ):
            monkeypatch.setattr(module, name, stand_in)

    # What the parent calls

    def _fork(self) -> int:
        self._next_pid += 1
        self.alive.append(self._next_pid)
        return self._next_pid

    def _wait(self, pid: int, _: int) -> tuple[int, int]:
        if pid > 0:
            return pid, 0
        return self._ended.pop(0) if self._ended else (0, 0)

    def _kill(self, pid: int, number: int) -> None:
        self.killed.append((pid, number))
        if number == signal.SIGKILL:
            self.ends(pid, signal.SIGKILL)

    def register(self, *_: Any) -> None:
        pass

    def select(self, seconds: float | None) -> None:
        self.script.pop(0)(self, seconds)

    def __enter__(self) -> System:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    # What a script does

    def serves(self, count: int = 1) -> None:
        """This number of workers say that they accept connections."""
        os.write(self._pipes[1][1], b"." * count)

    def ends(self, pid: int, wait_status: int = 0) -> None:
        """`wait_status` is as waitpid has it: a signal, or 256 times the exit status."""
        self.alive.remove(pid)
        self._ended.append((pid, wait_status))

    def signals(self, number: signal.Signals) -> None:
        os.write(self._pipes[0][1], bytes([number]))

    @property
    def told_to_end(self) -> bool:
        """Whether the pipe that workers hold is closed at the parent's end."""
        os.set_blocking(self._pipes[2][0], False)
        try:
            return os.read(self._pipes[2][0], 1) == b""
        except BlockingIOError:
            return False

    def close(self) -> None:
        ended = {self._pipes[2][1]} if self._pipes and self.told_to_end else set()
        for each in {number for pipe in self._pipes for number in pipe} - ended:
            os.close(each)


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> Iterator[System]:
    with closing(System(monkeypatch)) as made:
        yield made


class Announced:
    """Counts the announcements that all workers serve."""

    count = 0

    def __call__(self) -> None:
        self.count += 1


def run(system: System, *script: Callable[[System, float | None], None], workers: int = 2) -> Announced:
    announced = Announced()
    system.script = list(script)
    Parent(ServerSettings(workers=workers, drain_timeout=8.0), [], announced).run()
    assert system.script == []
    return announced


def both_serve(system: System, seconds: float | None) -> None:
    assert seconds is None
    assert system.alive == [101, 102]
    system.serves(2)


def asked_to_end(system: System, _: float | None) -> None:
    system.signals(signal.SIGTERM)


def all_end(system: System, seconds: float | None) -> None:
    assert system.told_to_end
    for pid in [*system.alive]:
        system.ends(pid)


def test_all_start_and_all_end(system: System) -> None:
    def one_serves(system: System, _: float | None) -> None:
        system.serves()

    announced = run(system, one_serves, one_serves, asked_to_end, all_end)
    assert announced.count == 1
    assert system.dead_numbers == [0, 1]


def test_one_that_has_served_for_long_is_replaced_at_once(system: System) -> None:
    def one_ends_late(system: System, _: float | None) -> None:
        system.now += 3600
        system.ends(101, signal.SIGSEGV)

    def next_is_there(system: System, seconds: float | None) -> None:
        assert (system.alive, seconds) == ([102, 103], None)
        system.serves()

    announced = run(system, both_serve, one_ends_late, next_is_there, asked_to_end, all_end)
    assert announced.count == 1


def test_one_that_ends_again_and_again_is_replaced_later_and_later(
    system: System, caplog: pytest.LogCaptureFixture
) -> None:
    waits: list[float | None] = []

    def ends(system: System, seconds: float | None) -> None:
        assert seconds is None
        system.ends(next(pid for pid in system.alive if pid != 102), 256)

    def waits_and_wakes(system: System, seconds: float | None) -> None:
        waits.append(seconds)
        assert system.alive == [102]
        assert seconds is not None
        system.now += seconds

    run(system, both_serve, *[ends, waits_and_wakes] * 7, asked_to_end, all_end)
    assert waits == [1, 2, 4, 8, 16, 30, 30]
    assert "worker 0 (PID 101) ended with status 1; next in 1 s" in caplog.text


def test_the_end_does_not_wait_for_one_that_is_to_be_replaced_later(system: System) -> None:
    def ends(system: System, _: float | None) -> None:
        system.ends(101, 256)

    run(system, both_serve, ends, asked_to_end, all_end)
    assert system.dead_numbers == [0, 1]


def test_when_none_ever_serves_it_fails(system: System) -> None:
    def one_fails(system: System, _: float | None) -> None:
        system.ends(101, 256)

    with pytest.raises(WorkersFailed, match="a worker ended with status 1 before it served"):
        run(system, one_fails, all_end)


def test_one_that_ends_badly_at_the_end_is_told(system: System) -> None:
    def one_crashes(system: System, _: float | None) -> None:
        system.ends(101, signal.SIGABRT)
        system.ends(102)

    with pytest.raises(WorkersFailed, match=r"worker 0 \(PID 101\) ended by SIGABRT"):
        run(system, both_serve, asked_to_end, one_crashes)


def test_one_that_does_not_end_is_killed_after_the_drain_and_a_little(system: System) -> None:
    def nothing_happens(system: System, seconds: float | None) -> None:
        assert seconds == 8.0 + 5.0
        system.now += seconds

    def killed(system: System, seconds: float | None) -> None:
        assert seconds is None

    with pytest.raises(WorkersFailed, match="did not end in time and were killed"):
        run(system, both_serve, asked_to_end, nothing_happens, killed)
    assert system.killed == [(101, signal.SIGKILL), (102, signal.SIGKILL)]


def test_a_second_signal_ends_everything_now(system: System) -> None:
    with pytest.raises(SystemExit) as caught:
        run(system, both_serve, asked_to_end, asked_to_end)
    assert caught.value.code == 128 + signal.SIGTERM
    assert system.killed == [(101, signal.SIGKILL), (102, signal.SIGKILL)]


def test_sighup_is_passed_on(system: System) -> None:
    def hangs_up(system: System, _: float | None) -> None:
        system.signals(signal.SIGHUP)

    run(system, both_serve, hangs_up, asked_to_end, all_end)
    assert system.killed == [(101, signal.SIGHUP), (102, signal.SIGHUP)]


def test_the_end_of_a_stranger_is_no_concern(system: System) -> None:
    """In a container, process 1 gets to know the end of everybody's children."""

    def stranger(system: System, _: float | None) -> None:
        system.alive.append(7)
        system.ends(7)

    run(system, both_serve, stranger, asked_to_end, all_end)
    assert system.dead_numbers == [0, 1]
