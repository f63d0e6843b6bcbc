"""What a process needs around its event loop: signals, the loop itself, and descriptors.

The first SIGTERM or SIGINT asks for an end, the second one of either exits now with 128 + its number, as shells count.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

log = logging.getLogger("pog")

ENDING = (signal.SIGTERM, signal.SIGINT)
# Descriptors are C ints.
_MOST_DESCRIPTORS = 2**31


def run(main: Callable[[asyncio.Event], Coroutine[object, object, None]]) -> None:
    """Runs `main` until it returns; the event tells it to end. Raises what `main` raises."""
    raise_descriptor_limit()
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(_with_signals(main))


async def _with_signals(main: Callable[[asyncio.Event], Coroutine[object, object, None]]) -> None:
    loop, shutdown = asyncio.get_running_loop(), asyncio.Event()

    def end(number: signal.Signals) -> None:
        for each in ENDING:
            # From here on not through the loop, which may be what is stuck.
            loop.remove_signal_handler(each)
            signal.signal(each, lambda again, _frame: _exit_now(again))
        log.info("%s: ending; once more exits now", number.name)
        shutdown.set()

    for each in ENDING:
        loop.add_signal_handler(each, end, each)
    await main(shutdown)


def _exit_now(number: int) -> None:
    os._exit(128 + number)


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop where it exists, else asyncio's own."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def raise_descriptor_limit() -> None:
    """A tunnel takes a descriptor or two, and the usual soft limit is 1024: take the most that the system grants.

    That is the hard limit, or less: macOS says «unlimited» and takes 10,240 or what kern.maxfilesperproc says.
    """
    try:
        import resource
    except ImportError:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft in (hard, resource.RLIM_INFINITY):
        return

    def grants(limit: int) -> bool:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
        except (ValueError, OSError):
            return False
        return True

    if grants(hard):
        return
    granted, refused = soft, _MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else hard
    while refused - granted > 1:
        middle = (granted + refused) // 2
        if grants(middle):
            granted = middle
        else:
            refused = middle
    log.debug("%d descriptors at most, although the hard limit is %d", granted, hard)
