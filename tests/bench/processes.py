"""Child processes of the benchmark: started with a log, watched through /proc, ended by id on every way out."""

import contextlib
import os
import resource
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench.programs import BenchError

FILES = 65536  # descriptors: 5,000 tunnels cost a splicing proxy about four each


@dataclass(frozen=True, slots=True)
class Command:
    """What to run; `env` is added to this process's own environment."""

    argv: tuple[str, ...]
    env: Mapping[str, str]


def raise_file_limit() -> None:
    """Children inherit the limit. Without the privilege to raise the hard limit, it is what can be had."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if hard == resource.RLIM_INFINITY else max(FILES, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, wanted))
    except (ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def end_on_signals() -> None:
    """Makes SIGTERM and SIGHUP unwind the stack, as SIGINT does, so that no child is left behind."""

    def leave(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, leave)


@contextlib.contextmanager
def running(
    command: Command, log: Path, *, pipes: bool = False, patience: float = 3.0
) -> Iterator["subprocess.Popen[str]"]:
    """Runs `command` for the time of the block. All output goes to `log`; with `pipes`, stdin and stdout are ours.

    After the block it has `patience` seconds for its end.
    """
    with log.open("a") as output:
        process = subprocess.Popen(
            command.argv,
            env={**os.environ, **command.env},
            stdin=subprocess.PIPE if pipes else subprocess.DEVNULL,
            stdout=subprocess.PIPE if pipes else output,
            stderr=output,
            text=True,
        )
    try:
        yield process
    finally:
        end(process, patience)


def end(process: "subprocess.Popen[str]", patience: float) -> None:
    """SIGTERM, `patience` seconds, SIGKILL; for the process and what it started."""
    heirs = {pid: _started(pid) for pid in _descendants(process.pid)}
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    for pid, started in heirs.items():
        with contextlib.suppress(ProcessLookupError):
            if started and _started(pid) == started:
                os.kill(pid, signal.SIGKILL)


def cpu_seconds(pid: int) -> float:
    """User and system time used so far by a process and what it started; to the nanosecond, where stat has 10 ms."""
    used = 0.0
    for member in (pid, *_descendants(pid)):
        with contextlib.suppress(OSError):
            used += time.clock_gettime(_clock_of(member))
    return used


def _clock_of(pid: int) -> int:
    """The CPU clock of a process, as clock_getcpuclockid(3) has it on Linux: the id inverted, then three bits of kind.

    The kind is 2, CPUCLOCK_SCHED of the kernel's include/linux/posix-timers.h: what the scheduler has counted.
    """
    return (~pid << 3) | 2


def resident_bytes(pid: int) -> int:
    """Resident memory of a process and what it started.

    From smaps_rollup, which counts pages; the figure in stat is batched for each core and may be 256 KiB off.
    """
    size = 0
    for member in (pid, *_descendants(pid)):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            rollup = Path(f"/proc/{member}/smaps_rollup").read_text()
            size += sum(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Rss:")) * 1024
    return size


def settled_bytes(pids: Sequence[int], *, least: float, most: float = 20.0) -> int:
    """The largest sum of resident memory seen until it has not grown for a second; takes `least` to `most` seconds."""
    begun = grown = time.monotonic()
    largest = 0
    while True:
        now, size = time.monotonic(), sum(resident_bytes(pid) for pid in pids)
        if size > largest + 64 * 1024:
            grown = now
        largest = max(largest, size)
        if now - begun > most or (now - begun > least and now - grown > 1.0):
            return largest
        time.sleep(0.1)


def _started(pid: int) -> int:
    """When a process began, in ticks since boot (field 22); 0 when it is gone. Tells when an id was given anew."""
    try:
        return int(_stat(pid)[19])
    except OSError:
        return 0


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the third (state) on: the name before them may hold spaces."""
    text = Path(f"/proc/{pid}/stat").read_text()
    return text[text.rindex(")") + 2 :].split()


def _descendants(pid: int) -> list[int]:
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, ValueError):
                parents.setdefault(int(_stat(int(entry.name))[1]), []).append(int(entry.name))
    found, waiting = [], [pid]
    while waiting:
        children = parents.get(waiting.pop(), [])
        found += children
        waiting += children
    return found


def tail(log: Path, lines: int = 8) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:]) if log.exists() else ""


def read_line(process: "subprocess.Popen[str]", what: str) -> str:
    """One line of a child's stdout; raises BenchError when it ended instead."""
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise BenchError(f"{what} ended with status {process.wait()}")
    return line
