"""SIGHUP: what was read from files is read again, without touching what goes on."""

from __future__ import annotations

import asyncio
import signal
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

# Of every role in this process: a process has one handler for a signal, and `pog up` has two roles.
_readers: list[Callable[[], None]] = []


def at_sighup(read: Callable[[], None]) -> Callable[[], None]:
    """Calls `read` at every SIGHUP, until the returned function is called. Needs a running loop."""
    _readers.append(read)
    # Not outside of the main thread, and not on Windows.
    with suppress(RuntimeError, ValueError, NotImplementedError, AttributeError):
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, _read_all)
    return lambda: _forget(read)


def _read_all() -> None:
    for read in [*_readers]:
        read()


def _forget(read: Callable[[], None]) -> None:
    """The handler stays: while the program drains a SIGHUP must not end it."""
    with suppress(ValueError):
        _readers.remove(read)
