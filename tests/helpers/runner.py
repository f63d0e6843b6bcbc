"""How every test that is a coroutine runs: on the loop of production, within a time, and nothing may be left of it."""

from __future__ import annotations

import asyncio
import functools
import inspect
from typing import TYPE_CHECKING, Any

import uvloop

from pog.grpctest.leftovers import tasks_left
from pog.grpctest.sockets import Sockets
from pog.process.run import loop_factory

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    import pytest

# Nothing on loopback takes longer, whatever the load.
SECONDS = 30.0

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop] | None] = {
    "production": loop_factory(),
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}
# A closed socket is gone some passes of the loop later; its peer's, when the kernel has said so.
_PATIENCE = 2.0


def run(test: Coroutine[Any, Any, object], loop: str = "production") -> None:
    """Runs `test` on a loop of its own; raises what it raises.

    Fails when it takes longer than SECONDS, when it leaves a task or a socket, and when the loop caught an exception
    that nobody else did.
    """
    caught: list[dict[str, Any]] = []

    async def watched() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: caught.append(context))
        sockets = Sockets()
        async with asyncio.timeout(SECONDS):
            await test
        left = await tasks_left(0.0) + await _sockets_left(sockets)
        assert not left, "left running: " + "; ".join(left)

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(watched())
    assert not caught, caught


async def _sockets_left(sockets: Sockets) -> list[str]:
    try:
        async with asyncio.timeout(_PATIENCE):
            while sockets.left(0.0):  # noqa: ASYNC110  # the system has no event for it
                await asyncio.sleep(0.001)
    except TimeoutError:
        return sockets.left(0.0)
    return []


def parametrize(metafunc: pytest.Metafunc) -> None:
    """Runs a test once for each loop that its marker `loops` names."""
    marker = metafunc.definition.get_closest_marker("loops")
    if marker is not None and inspect.iscoroutinefunction(metafunc.function):
        metafunc.fixturenames.append("loop_name")
        metafunc.parametrize("loop_name", marker.args)


def call(item: pytest.Function) -> bool | None:
    """Runs the test if it is a coroutine; None leaves it to pytest."""
    # Not from `funcargs`: there it is only for a test that has the argument.
    parameters = item.callspec.params if hasattr(item, "callspec") else {}
    loop = str(parameters.get("loop_name", "production"))
    property_test = getattr(item.obj, "hypothesis", None)
    if property_test is not None:
        if inspect.iscoroutinefunction(property_test.inner_test):
            property_test.inner_test = _blocking(property_test.inner_test, loop)
        return None
    if not inspect.iscoroutinefunction(item.obj):
        return None
    arguments = {name: item.funcargs[name] for name in inspect.signature(item.obj).parameters}
    run(item.obj(**arguments), loop)
    return True


def _blocking(test: Callable[..., Coroutine[Any, Any, object]], loop: str) -> Callable[..., None]:
    """For hypothesis: each example has a loop of its own."""

    def example(*args: Any, **kwargs: Any) -> None:
        run(test(*args, **kwargs), loop)

    return functools.update_wrapper(example, test)
