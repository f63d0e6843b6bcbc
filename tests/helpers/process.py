"""A program under test as a process of its own: only the given environment, all output kept, ended by its id."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from types import TracebackType

ROOT = Path(__file__).parent.parent.parent
# The environment of a program for which the names of tests/helpers/site/sitecustomize.py exist.
NAMES = {"PYTHONPATH": str(Path(__file__).parent / "site")}
# A cold start on a busy two-core machine stays far below this.
START_SECONDS = 20.0
# The longest drain that a test configures, and some more.
STOP_SECONDS = 10.0
# Nothing of the developer's own settings (proxy variables, POG_AUTH_*, CLIENT_*) reaches a program under test.
# Where programs under test keep their state; it goes with the tests.
_STATE = tempfile.TemporaryDirectory(prefix="pog-state-")
_INHERITED = ("PATH", "HOME", "TMPDIR")
# POG_TEST_ENGINE=portable has the servers under test speak HTTP/2 by Hypercorn's own engine.
PORTABLE = os.environ.get("POG_TEST_ENGINE") == "portable"
_FAULTS = re.compile(
    r"Traceback \(most recent call last\)|was never retrieved|was never awaited|was destroyed but it is"
)
# Of Hypercorn's own engine: content that comes after the answer; and when a program has printed it, as time.time().
_LATE_DATA = re.compile(r"\bKeyError: \d+")
late_data: list[float] = []


class Program:
    """One running process; as a context manager it is stopped at the end and must have ended well."""

    def __init__(
        self,
        args: Sequence[str],
        env: Mapping[str, str] | None = None,
        fds: Iterable[int] = (),
        cwd: Path = ROOT,
    ) -> None:
        self.args = list(args)
        inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        self._process = subprocess.Popen(
            self.args,
            env={"LANG": "C.UTF-8", "XDG_STATE_HOME": _STATE.name, **inherited, **(env or {})},
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=tuple(fds),
            start_new_session=True,
        )
        self.pid = self._process.pid
        self._lines: dict[str, list[str]] = {"stdout": [], "stderr": []}
        self._open = 2
        self._changed = threading.Condition()
        assert self._process.stdout is not None and self._process.stderr is not None
        self._readers = [
            threading.Thread(target=self._read, args=(name, pipe), name=f"{name} of {self.pid}", daemon=True)
            for name, pipe in (("stdout", self._process.stdout), ("stderr", self._process.stderr))
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, name: str, pipe: IO[bytes]) -> None:
        with pipe:
            for line in pipe:
                text = line.decode(errors="replace").rstrip("\n")
                if PORTABLE and _LATE_DATA.search(text):
                    late_data.append(time.time())
                with self._changed:
                    self._lines[name].append(text)
                    self._changed.notify_all()
        with self._changed:
            self._open -= 1
            self._changed.notify_all()

    def wait_line(self, pattern: str, seconds: float = START_SECONDS) -> re.Match[str]:
        """Waits until a line of either output matches; fails with all the output when the program ends before."""
        found: re.Match[str] | None = None

        def look() -> bool:
            nonlocal found
            found = next((m for m in (re.search(pattern, line) for line in self._all()) if m), None)
            return found is not None or self._open == 0

        with self._changed:
            self._changed.wait_for(look, seconds)
        assert found is not None, f"no line like {pattern!r} in\n{self.output()}"
        return found

    def _all(self) -> list[str]:
        return self._lines["stdout"] + self._lines["stderr"]

    @property
    def stdout(self) -> list[str]:
        with self._changed:
            return list(self._lines["stdout"])

    @property
    def stderr(self) -> list[str]:
        with self._changed:
            return list(self._lines["stderr"])

    def output(self) -> str:
        """All that the program said, for a failure's text."""
        with self._changed:
            lines = [f"{name}: {line}" for name, lines in self._lines.items() for line in lines]
        return "\n".join([f"--- {' '.join(self.args)} (pid {self.pid}, status {self._process.poll()})", *lines])

    def running(self) -> bool:
        return self._process.poll() is None

    def wait(self, seconds: float = STOP_SECONDS) -> int:
        """The exit status, once the process has ended and all its output is read."""
        try:
            status = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"still running after {seconds} s\n{self.output()}") from None
        for reader in self._readers:
            reader.join(STOP_SECONDS)
        return status

    def send_signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def kill(self) -> None:
        """Ends the process and all that it has started, at once."""
        if self.running():
            os.killpg(self.pid, signal.SIGKILL)
        self.wait()

    def stop(self) -> None:
        """SIGTERM; the process must end with status 0 and must not have printed a traceback."""
        if self.running():
            self.send_signal(signal.SIGTERM)
        status = self.wait()
        assert status == 0, f"ended with status {status}\n{self.output()}"
        self.check_output()

    def check_output(self) -> None:
        """Fails when the program let an exception escape. Hypercorn's engine does (DATA after the app has finished)."""
        output = self.output()
        assert PORTABLE or not _FAULTS.search(output), output

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if kind is not None or not self.running():
            self.kill()
        else:
            self.stop()
