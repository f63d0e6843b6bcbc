"""What is still running when it should not be: calls, connections and tasks of the services."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
from contextvars import Context, ContextVar, copy_context
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import grpclib

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_LIBRARIES = (os.path.dirname(asyncio.__file__), os.path.dirname(grpclib.__file__))

_owner: ContextVar[object] = ContextVar("pog.grpctest.owner")
_call: ContextVar[str] = ContextVar("pog.grpctest.call")
# The coroutines of services by the tasks of their calls: some servers' own coroutines do not show what they wait for.
_handlers: WeakKeyDictionary[asyncio.Task[Any], Any] = WeakKeyDictionary()


class LeftRunning(AssertionError):
    """Something outlives its end. `names` says what, one line each."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names = tuple(names)
        super().__init__("left running:\n" + "\n".join(f"    {name}" for name in self.names))


class Live:
    """What is there now, each with its name; the end of all of it can be waited for."""

    def __init__(self) -> None:
        self._things: dict[Any, str] = {}
        self._empty = asyncio.Event()
        self._empty.set()

    def __iter__(self) -> Iterator[Any]:
        return iter([*self._things])

    def add(self, thing: object, name: str) -> None:
        self._things[thing] = name
        self._empty.clear()

    def remove(self, thing: object) -> None:
        self._things.pop(thing, None)
        if not self._things:
            self._empty.set()

    async def gone(self, seconds: float) -> list[str]:
        """Waits for the end of all; gives the names of those that are there after so long."""
        try:
            async with asyncio.timeout(seconds):
                await self._empty.wait()
        except TimeoutError:
            pass
        return [*self._things.values()]


def owned_context(owner: object) -> Context:
    """A context in which every task that is started, directly or by another, counts as `owner`'s."""
    context = copy_context()
    context.run(_owner.set, owner)
    return context


def begin_call(path: str, handler: object) -> None:
    """To be called in the task of a call: it is known by the path and by what the handler does, and the tasks that it
    starts as the service's."""
    _call.set(path)
    task = asyncio.current_task()
    assert task is not None
    task.set_name(path)
    _handlers[task] = handler


def of_services(tasks: set[asyncio.Task[Any]]) -> set[asyncio.Task[Any]]:
    """Those among the tasks that are calls, or that calls have started."""
    return {task for task in tasks if _call in _context_of(task)}


def owned_tasks(owner: object, loop: asyncio.AbstractEventLoop) -> set[asyncio.Task[Any]]:
    """The owner's tasks that are not done."""
    return {task for task in asyncio.all_tasks(loop) if _context_of(task).get(_owner) is owner}


def _context_of(task: asyncio.Task[Any]) -> Context:
    if sys.version_info >= (3, 12):
        return task.get_context()
    # In 3.11 a task holds its context without showing it.
    found = [each for each in gc.get_referents(task) if isinstance(each, Context)]
    return found[0] if found else Context()


async def tasks_left(seconds: float = 1.0) -> list[str]:
    """The names of the running loop's tasks, beside the calling one, that are not done after so long."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    if tasks:
        _, tasks = await asyncio.wait(tasks, timeout=seconds)
    return [describe(task) for task in tasks]


class NewTasks:
    """Remembers the tasks of the loops that it is shown, and finds those that come later and stay."""

    def __init__(self) -> None:
        self._before: dict[asyncio.AbstractEventLoop, set[asyncio.Task[Any]]] = {}

    def look(self) -> None:
        """To be called where a loop runs."""
        loop = asyncio.get_running_loop()
        if loop not in self._before:
            self._before[loop] = asyncio.all_tasks(loop)

    def left(self) -> list[str]:
        """To be called where no loop runs. Tasks that services own are `serve`'s to look after."""
        return [
            describe(task)
            for loop, before in self._before.items()
            for task in asyncio.all_tasks(loop) - before
            if not task.cancelling() and _owner not in _context_of(task)
        ]


def describe(task: asyncio.Task[Any]) -> str:
    """A task in one line: its name, what it runs, and where that waits."""
    coroutine: Any = _handlers.get(task, task.get_coro())
    name = getattr(coroutine, "__qualname__", repr(coroutine))
    return f"task {task.get_name()}: {name}{_place(coroutine)}"


def _place(coroutine: Any) -> str:
    """The innermost line that a coroutine waits in and that is none of asyncio's or grpclib's."""
    place = ""
    while frame := getattr(coroutine, "cr_frame", None):
        path = frame.f_code.co_filename
        if not place or not path.startswith(_LIBRARIES):
            place = f", at {path}:{frame.f_lineno}"
        coroutine = getattr(coroutine, "cr_await", None)
    return place
