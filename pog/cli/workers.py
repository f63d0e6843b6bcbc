"""Several processes that serve one address, and their parent, which only watches over them.

1. The parent reserves the address, imports what workers need, and forks them. It has no thread and no event loop, so
   that it can fork at any time. Where there is no fork there are no workers.
2. Each worker listens on a socket of its own, and the kernel spreads connections over them (SO_REUSEPORT). On one
   shared socket Linux wakes the worker that waited last, so that one has most of the work. Only where the kernel does
   not spread, that is not on Linux, all listen on the parent's.
3. A worker that ends is replaced: at once when it has served for a while, otherwise with back-off.
4. The end is the closing of a pipe that all workers hold: they learn of it also when the parent was killed. SIGTERM or
   SIGINT at a worker means the same, and means nothing more the second time: a terminal or a service manager may signal
   parent and workers at once. Only a second signal at the parent ends everything now.
5. Metrics are files in a directory of our own, one set for each worker's number, which its successor continues; so
   counters go on where they were and every scrape is the sum. The directory goes with the parent.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import selectors
import signal
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from pog.errors import PogError, SettingsError
from pog.net.address import Address
from pog.net.listen import SPREADS, beside, reserved
from pog.observe.messages import set_up_logging
from pog.process.run import ENDING, loop_factory, raise_descriptor_limit

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from pog.config.server_settings import ServerSettings

log = logging.getLogger("pog.server")

# A worker that has served for so long is replaced at once; others after a second, two, four and so on. Seconds.
_STEADY = 10.0
_FIRST_DELAY = 1.0
_LONGEST_DELAY = 30.0
# What a worker may take for its end beyond the drain, before it is killed; seconds.
_GRACE = 5.0

_SIGNALS = (*ENDING, signal.SIGHUP, signal.SIGCHLD)


class WorkersFailed(PogError):
    """The workers do not serve."""


def run(settings: ServerSettings, started: Callable[[list[Address]], None]) -> None:
    """Serves with `settings.workers` processes until SIGTERM or SIGINT; `started` is called when all of them serve.

    Raises OSError when it cannot listen, WorkersFailed when the workers cannot serve or do not end.
    """
    if not hasattr(os, "fork"):
        raise SettingsError("--workers", "must be 1 on a system without fork")
    set_up_logging(settings.log_level, settings.log_format)
    raise_descriptor_limit()
    # Until the parent takes them they wait: one that came before would leave the directory behind.
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        with TemporaryDirectory(prefix="pog-metrics-") as directory, reserved(settings.listens_at) as held:
            # prometheus_client looks for it when it is imported, which is now: this module is not in pog.server for it.
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = directory
            import pog.server.serve  # noqa: F401
            from pog.server.tls import certificate_for

            certificate_for(settings)  # what is wrong with it is said before there are workers
            gc.freeze()  # what is there already stays in pages that the workers share
            addresses = [Address(*each.getsockname()[:2]) for each in held]
            Parent(settings, held, lambda: started(addresses)).run()
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)


@dataclass(slots=True)
class Worker:
    """One number, under which one process after the other serves."""

    number: int
    pid: int = 0
    since: float = 0.0
    delay: float = 0.0
    due: float = 0.0


class Parent:
    """Starts the workers, replaces those that end, and ends them."""

    def __init__(self, settings: ServerSettings, held: list[socket.socket], started: Callable[[], None]) -> None:
        self._settings = settings
        self._held = held
        self._started = started
        self._workers = [Worker(number) for number in range(settings.workers)]
        self._serving = 0
        self._announced = False
        self._failed = ""
        self._deadline: float | None = None
        self._signals, self._woken = os.pipe()
        self._ready, self._say_ready = os.pipe()
        self._end, self._hold = os.pipe()
        for each in (self._signals, self._woken, self._ready):
            os.set_blocking(each, False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._signals, selectors.EVENT_READ)
        self._selector.register(self._ready, selectors.EVENT_READ)

    def run(self) -> None:
        """Raises WorkersFailed, and SystemExit at a second signal."""
        for each in _SIGNALS:
            signal.signal(each, lambda *_: None)  # the byte in the pipe is what counts
        signal.set_wakeup_fd(self._woken, warn_on_full_buffer=False)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        with self._selector as selector:
            while not self._over():
                self._start_due()
                selector.select(self._patience())
                self._take_ready()
                for number in self._read(self._signals):
                    self._signalled(number)
                self._reap()
        signal.set_wakeup_fd(-1)
        if self._failed:
            raise WorkersFailed(self._failed)

    def _over(self) -> bool:
        return self._deadline is not None and not any(worker.pid for worker in self._workers)

    def _patience(self) -> float | None:
        """How long nothing has to be done, seconds; None: until something happens."""
        now = time.monotonic()
        if self._deadline is not None:
            if now >= self._deadline:
                self._failed = self._failed or "workers did not end in time and were killed"
                self._kill()
                return None
            return self._deadline - now
        due = [worker.due for worker in self._workers if not worker.pid]
        return max(0.0, min(due) - now) if due else None

    @staticmethod
    def _read(pipe: int) -> bytes:
        try:
            return os.read(pipe, 4096)
        except BlockingIOError:
            return b""

    # Signals

    def _signalled(self, number: int) -> None:
        if number in ENDING:
            if self._deadline is not None:
                self._kill()
                for worker in self._workers:
                    if worker.pid:
                        os.waitpid(worker.pid, 0)
                raise SystemExit(128 + number)
            log.info("%s: ending; once more exits now", signal.Signals(number).name)
            self._end_all()
        elif number == signal.SIGHUP:
            self._send(number)

    def _end_all(self) -> None:
        if self._deadline is None:
            self._deadline = time.monotonic() + self._settings.drain_timeout + _GRACE
            os.close(self._hold)
            for each in self._held:
                each.close()

    def _send(self, number: int) -> None:
        for worker in self._workers:
            if worker.pid:
                with suppress(ProcessLookupError):
                    os.kill(worker.pid, number)

    def _kill(self) -> None:
        self._send(signal.SIGKILL)

    # Workers

    def _take_ready(self) -> None:
        self._serving += len(self._read(self._ready))
        if self._serving >= len(self._workers) and not self._announced:
            self._announced = True
            self._started()

    def _reap(self) -> None:
        while any(worker.pid for worker in self._workers):
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            # In a container, process 1 gets to know the end of strangers too.
            for worker in self._workers:
                if worker.pid == pid:
                    self._ended(worker, os.waitstatus_to_exitcode(status))

    def _ended(self, worker: Worker, status: int) -> None:
        from prometheus_client.multiprocess import mark_process_dead

        mark_process_dead(worker.number)  # type: ignore[no-untyped-call]
        pid, worker.pid = worker.pid, 0
        if self._deadline is not None:
            if status and not self._failed:
                self._failed = f"worker {worker.number} (PID {pid}) ended {_how(status)}"
            return
        if not self._serving:
            self._failed = f"a worker ended {_how(status)} before it served"
            self._end_all()
            return
        now = time.monotonic()
        steady = now - worker.since >= _STEADY
        worker.delay = 0.0 if steady else min(max(_FIRST_DELAY, 2 * worker.delay), _LONGEST_DELAY)
        worker.due = now + worker.delay
        log.warning("worker %d (PID %d) ended %s; next in %g s", worker.number, pid, _how(status), worker.delay)

    def _start_due(self) -> None:
        if self._deadline is not None:
            return
        now = time.monotonic()
        for worker in self._workers:
            if not worker.pid and worker.due <= now:
                self._start(worker)

    def _start(self, worker: Worker) -> None:
        # A signal between fork and the child's own handlers would go to the pipe that it shares with us.
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if not pid:
            self._become(worker)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        worker.pid, worker.since = pid, time.monotonic()
        log.debug("worker %d: PID %d", worker.number, pid)

    def _become(self, worker: Worker) -> None:
        """Makes this process a worker. Does not return."""
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            for each in _SIGNALS:
                signal.signal(each, signal.SIG_DFL)
            self._selector.close()
            for pipe in (self._signals, self._woken, self._ready, self._hold):
                os.close(pipe)
            _share_values(worker.number)
            with asyncio.Runner(loop_factory=loop_factory()) as runner:
                runner.run(self._work(warn=worker.number == 0))
            status = 0
        except OSError as error:
            log.error("worker %d: %s", worker.number, error.strerror or error)
        except BaseException:
            log.exception("worker %d failed", worker.number)
        finally:
            with suppress(OSError, ValueError):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(status)

    async def _work(self, *, warn: bool) -> None:
        from pog.server.serve import serve

        loop, shutdown = asyncio.get_running_loop(), asyncio.Event()

        def end() -> None:
            loop.remove_reader(self._end)
            shutdown.set()

        loop.add_reader(self._end, end)
        for each in ENDING:
            loop.add_signal_handler(each, shutdown.set)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        sockets = self._held
        if SPREADS:
            sockets = [beside(held) for held in self._held]
            for held in self._held:
                held.close()
        await serve(self._settings, shutdown=shutdown, started=lambda _: self._serves(), sockets=sockets, warn=warn)

    def _serves(self) -> None:
        with suppress(BrokenPipeError):
            os.write(self._say_ready, b".")


def _share_values(number: int) -> None:
    """Puts what is counted into the files of this worker's number, instead of the process's own."""
    from prometheus_client import values

    values.ValueClass = values.MultiProcessValue(lambda: number)  # type: ignore[no-untyped-call]


def _how(status: int) -> str:
    return f"with status {status}" if status >= 0 else f"by {signal.Signals(-status).name}"
