"""Another program, run as if it had been started in the place of this one.

1. Signals that end or tell something are blocked here, in this thread and in all that it starts from then on. The
   program starts with the mask that we had, and with what we ignored still ignored.
2. One thread takes the signals and passes them on. Not those that a terminal sends: the program is in the same process
   group and has got them already, and many programs take a second ^C for an order to hurry.
3. Another one waits for its end. Until the program is reaped, its number belongs to nobody else, so that no signal
   goes astray.
4. We end as it did: with its status, or by the signal that ended it, so that a shell knows about ^C.
"""

from __future__ import annotations

import os
import signal
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_PASSED_ON = ("SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM", "SIGUSR1", "SIGUSR2")
# Python ignores these, and a program expects its own default (subprocess has `restore_signals` for that).
_IGNORED_BY_PYTHON = ("SIGPIPE", "SIGXFSZ")


def _existing(names: Sequence[str]) -> set[signal.Signals]:
    return {signal.Signals[name] for name in names if name in signal.Signals.__members__}


def can_run() -> bool:
    """Whether the system has what this needs; Windows has not."""
    return hasattr(os, "posix_spawnp") and hasattr(signal, "pthread_sigmask")


class HeldSignals:
    """The signals that are passed on, blocked from the making of this object on. To be made in the main thread before
    there is another one."""

    def __init__(self) -> None:
        self._signals = _existing(_PASSED_ON)
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, self._signals)
        self._ignored = [each for each in self._signals if signal.getsignal(each) is signal.SIG_IGN]

    def start(self, command: Sequence[str], environ: Mapping[str, str], ended: Callable[[], object]) -> Child:
        """Starts a program, which has our standard streams, and passes signals on to it. `ended` is called from
        another thread. Raises OSError. In the main thread."""
        for each in self._ignored:
            signal.signal(each, signal.SIG_IGN)  # an event loop may have taken it
        defaults = _existing(_IGNORED_BY_PYTHON)
        pid = os.posix_spawnp(command[0], list(command), environ, setsigmask=self._mask, setsigdef=defaults)
        return Child(pid, self._signals, ended)


class Child:
    """A running program. `code` is how it ended: its status, or a signal's number below zero; None until then."""

    def __init__(self, pid: int, signals: set[signal.Signals], ended: Callable[[], object]) -> None:
        self.pid = pid
        self.code: int | None = None
        self._signals = signals
        self._ended = ended
        self._lock = threading.Lock()
        for work, name in ((self._wait, f"wait for {pid}"), (self._pass_on, f"signals to {pid}")):
            threading.Thread(target=work, name=name, daemon=True).start()

    def _wait(self) -> None:
        if hasattr(os, "waitid"):
            os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
            with self._lock:
                self.code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        else:  # macOS before Python 3.13
            self.code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        self._ended()

    def _pass_on(self) -> None:
        while True:
            number, from_terminal = self._next_signal()
            with self._lock:
                if self.code is not None:
                    return
                if not from_terminal:
                    with suppress(OSError):  # it runs as somebody else (sudo)
                        os.kill(self.pid, number)

    def _next_signal(self) -> tuple[int, bool]:
        if hasattr(signal, "sigwaitinfo"):
            info = signal.sigwaitinfo(self._signals)
            # POSIX, signal.h: the si_code of a signal that a process sent is 0 or less. The kernel's is a terminal's.
            return info.si_signo, info.si_code > 0
        number = signal.sigwait(self._signals)  # macOS
        return number, number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP) and _in_foreground()


def _in_foreground() -> bool:
    """Whether a terminal sends its signals to our process group."""
    try:
        return os.tcgetpgrp(0) == os.getpgrp()
    except OSError:
        return False


def end_as(code: int) -> NoReturn:
    """Ends this process as another one ended: with a status, or by a signal, whose number is below zero."""
    if code >= 0:
        raise SystemExit(code)
    import resource

    number = signal.Signals(-code)
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))  # it has dumped its own
    with suppress(OSError, ValueError):  # SIGKILL
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    os.kill(os.getpid(), number)
    raise SystemExit(128 - code)
