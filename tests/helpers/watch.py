"""A look into running processes through /proc, and the wait for something that another process does."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

# In /proc/net/tcp.
_ESTABLISHED = "01"
_KEEPALIVE = "02:"


def eventually(check: Callable[[], T], seconds: float = 5.0) -> T:
    """Repeats `check` until it raises no AssertionError; another process offers no event to wait for."""
    deadline = time.monotonic() + seconds
    pause = 0.002
    while True:
        try:
            return check()
        except AssertionError:
            if time.monotonic() >= deadline:
                raise
        time.sleep(pause)
        pause = min(pause * 2, 0.1)


def descriptors(pid: int) -> list[str]:
    """What the process's open descriptors lead to, sorted; the numbers of sockets and pipes are left out."""
    found = []
    for number in os.listdir(f"/proc/{pid}/fd"):
        try:
            found.append(os.readlink(f"/proc/{pid}/fd/{number}").partition(":[")[0])
        except FileNotFoundError:
            continue
    return sorted(found)


def resident(pid: int) -> int:
    """Resident memory in bytes."""
    with open(f"/proc/{pid}/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Peak:
    """How far resident memory rises above what it is now. The kernel counts, so no short rise is missed."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._before = resident(pid)
        with open(f"/proc/{pid}/clear_refs", "w") as refs:
            refs.write("5")  # proc(5): the peak begins anew

    def rise(self) -> int:
        """In bytes."""
        with open(f"/proc/{self._pid}/status") as status:
            peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM:"))
        return peak * 1024 - self._before


def connections(pid: int) -> list[tuple[int, int, bool]]:
    """The process's open connections of TCP over IPv4: own port, peer's port, and whether a keepalive timer runs.

    Such a connection has to be at rest: the kernel shows one timer of it (proc(5), net/tcp), and that of a segment that
    is not acknowledged yet comes first.
    """
    links = [_link(pid, number) for number in os.listdir(f"/proc/{pid}/fd")]
    inodes = {link[8:-1] for link in links if link.startswith("socket:[")}
    found = []
    with open(f"/proc/{pid}/net/tcp") as table:
        for line in table.readlines()[1:]:
            fields = line.split()
            if fields[3] == _ESTABLISHED and fields[9] in inodes:
                here, there = (int(fields[at].partition(":")[2], 16) for at in (1, 2))
                found.append((here, there, fields[5].startswith(_KEEPALIVE)))
    return found


def _link(pid: int, number: str) -> str:
    try:
        return os.readlink(f"/proc/{pid}/fd/{number}")
    except FileNotFoundError:
        return ""


def children(pid: int) -> list[int]:
    """The processes that this one has started, or that were left to it."""
    with open(f"/proc/{pid}/task/{pid}/children") as found:
        return sorted(map(int, found.read().split()))
