"""A look into running processes through /proc, and the wait for something that another process does."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


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


def children(pid: int) -> list[int]:
    """The processes that this one has started, or that were left to it."""
    with open(f"/proc/{pid}/task/{pid}/children") as found:
        return sorted(map(int, found.read().split()))
