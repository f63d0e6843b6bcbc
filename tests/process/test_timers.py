"""Timers that stand in line, and the limit made of them: as the loop's own, only cheaper."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import TYPE_CHECKING

import pytest

from pog.process.timers import Limit, after

if TYPE_CHECKING:
    from collections.abc import Callable


pytestmark = pytest.mark.loops("asyncio", "uvloop")


async def test_each_is_called_once_in_the_order_of_its_time() -> None:
    called: list[str] = []
    done = asyncio.Event()
    after(0.03, done.set)
    after(0.02, lambda: called.append("later"))
    after(0.01, lambda: called.append("first"))
    after(0.01, lambda: called.append("second"))
    await done.wait()
    assert called == ["first", "second", "later"]


async def test_none_is_called_before_its_time() -> None:
    loop = asyncio.get_running_loop()
    began, called = loop.time(), loop.create_future()
    after(0.05, lambda: called.set_result(loop.time()))
    assert await called - began >= 0.048  # uvloop counts in milliseconds


@pytest.mark.parametrize("which", [0, 1, 2])
async def test_one_that_is_cancelled_is_not_called_and_the_others_are(which: int) -> None:
    called: list[int] = []
    last = asyncio.Event()

    def say(number: int) -> Callable[[], None]:
        return lambda: called.append(number)

    timers = [after(0.01, say(number)) for number in range(3)]
    after(0.01, last.set)
    timers[which].cancel()
    timers[which].cancel()
    await last.wait()
    assert called == [number for number in range(3) if number != which]


async def test_a_line_that_has_run_empty_goes_on() -> None:
    for _ in range(2):
        called = asyncio.Event()
        after(0.01, called.set)
        await called.wait()


async def test_one_that_is_due_can_still_be_cancelled() -> None:
    """Two are due at once, and the first cancels the second."""
    called: list[str] = []
    done = asyncio.Event()
    after(0.01, lambda: second.cancel())
    second = after(0.01, lambda: called.append("second"))
    after(0.01, done.set)
    await done.wait()
    assert not called


async def test_one_that_fails_is_told_and_harms_no_other() -> None:
    told: list[object] = []
    done = asyncio.Event()
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context.get("exception")))
    after(0.01, lambda: 1 // 0)
    after(0.01, done.set)
    await done.wait()
    assert [type(error) for error in told] == [ZeroDivisionError]


async def test_a_cancelled_timer_lets_go_of_what_it_would_have_called() -> None:
    class Owner:
        def call(self) -> None:
            """Never."""

    owner = Owner()
    gone = weakref.ref(owner)
    timer = after(60, owner.call)
    timer.cancel()
    del owner
    gc.collect()
    assert gone() is None


async def test_a_limit_ends_what_takes_longer() -> None:
    with pytest.raises(TimeoutError):
        with Limit(0.01):
            await asyncio.Event().wait()
    await asyncio.sleep(0)  # the task is not cancelled any more


async def test_a_limit_that_is_kept_does_nothing() -> None:
    task = asyncio.current_task()
    assert task is not None
    with Limit(0.01):
        pass
    passed = asyncio.Event()
    after(0.02, passed.set)
    await passed.wait()
    assert not task.cancelling()


async def test_an_error_inside_a_limit_stays_what_it_is() -> None:
    with pytest.raises(KeyError):
        with Limit(60):
            raise KeyError


async def test_who_is_cancelled_by_another_is_not_told_of_a_timeout() -> None:
    inside = asyncio.Event()

    async def work() -> None:
        with Limit(60):
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_who_is_cancelled_by_another_and_late_is_cancelled() -> None:
    """As asyncio.timeout: the limit takes back its own cancellation only."""
    outer = asyncio.current_task()
    assert outer is not None

    async def work() -> None:
        with Limit(0.01):
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                me = asyncio.current_task()
                assert me is not None
                me.cancel()
                raise

    task = asyncio.create_task(work())
    with pytest.raises(asyncio.CancelledError):
        await task
