"""The runner of coroutine tests fails for what a test leaves, and this file's own coroutines are run by it."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers import runner

if TYPE_CHECKING:
    from collections.abc import Callable


async def test_a_coroutine_runs_on_the_loop_of_production() -> None:
    assert isinstance(asyncio.get_running_loop(), uvloop.Loop)


@pytest.mark.loops("asyncio", "uvloop")
@pytest.mark.parametrize("number", [1, 2])
async def test_each_loop_that_is_named(loop_name: str, number: int) -> None:
    assert isinstance(asyncio.get_running_loop(), uvloop.Loop) is (loop_name == "uvloop")
    assert number in (1, 2)


@pytest.mark.loops("asyncio")
async def test_a_loop_that_is_named_counts_for_a_test_that_does_not_ask_for_its_name() -> None:
    assert not isinstance(asyncio.get_running_loop(), uvloop.Loop)


_LOOPS_SEEN: set[asyncio.AbstractEventLoop] = set()


@pytest.mark.parametrize("word", ["fixed"])
@settings(max_examples=5)
@given(st.integers())
async def test_each_example_of_a_property_has_a_loop(word: str, number: int) -> None:
    await asyncio.sleep(0)
    assert (word, type(number)) == ("fixed", int)
    assert asyncio.get_running_loop() not in _LOOPS_SEEN
    _LOOPS_SEEN.add(asyncio.get_running_loop())


def test_a_failure_is_the_tests_own() -> None:
    async def test() -> None:
        raise KeyError("no such thing")

    with pytest.raises(KeyError, match="no such thing"):
        runner.run(test())


def test_a_task_that_stays_fails_the_test() -> None:
    async def test() -> None:
        asyncio.create_task(asyncio.Event().wait(), name="forgotten")

    with pytest.raises(AssertionError, match="left running: task forgotten: Event.wait"):
        runner.run(test())


def test_a_task_that_is_just_ending_is_none_left() -> None:
    async def test() -> None:
        asyncio.create_task(asyncio.sleep(3600)).cancel()

    runner.run(test())


def test_a_socket_that_stays_fails_the_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "_PATIENCE", 0.01)
    kept: list[socket.socket] = []

    async def test() -> None:
        kept.append(socket.create_server(("127.0.0.1", 0)))

    with pytest.raises(AssertionError, match="left running: socket listening on 127.0.0.1"):
        runner.run(test())
    kept.pop().close()


def _raises() -> None:
    raise ZeroDivisionError


def _leaves_a_failed_future() -> None:
    asyncio.get_running_loop().create_future().set_exception(ZeroDivisionError())


@pytest.mark.parametrize("fault", [_raises, _leaves_a_failed_future])
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_what_only_the_loop_caught_fails_the_test(fault: Callable[[], None], loop: str) -> None:
    async def test() -> None:
        asyncio.get_running_loop().call_soon(fault)
        await asyncio.sleep(0.001)

    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        runner.run(test(), loop)


def test_what_takes_too_long_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "SECONDS", 0.01)

    async def test() -> None:
        await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        runner.run(test())
