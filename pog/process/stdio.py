"""Standard input, output and error of a process: also where it was started without them, as by `pog server >&-`."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def standard_streams() -> Iterator[None]:
    """For the life of a process. What cannot be written at its end is dropped: Python would make it status 120."""
    _hold()
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except OSError:
                lead_nowhere(stream.fileno())


def _hold() -> None:
    """Gives /dev/null to those of descriptors 0 to 2 that are closed, and to sys those that Python has none for.

    Otherwise the next sockets got these numbers: messages would go to a peer, and libuv does not close them.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free, which is this one
    sys.stdin = sys.stdin or open(os.devnull)
    sys.stdout = sys.stdout or open(os.devnull, "w")
    sys.stderr = sys.stderr or open(os.devnull, "w")


def lead_nowhere(number: int) -> None:
    """Gives the descriptor to /dev/null; what it led to is closed."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, number)
    os.close(nowhere)
