"""The stacks of all asyncio tasks and of all threads, as text for a person."""

from __future__ import annotations

import asyncio
import sys
import threading
import traceback
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType


def all_stacks() -> str:
    """One paragraph a task (name, coroutine, where it waits) and a thread. Needs a running loop."""
    current = asyncio.current_task()
    tasks = sorted(asyncio.all_tasks(), key=lambda task: task.get_name())
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    paragraphs = [f"{len(tasks)} tasks, {len(names)} threads"]
    paragraphs += [_task(task, running=task is current) for task in tasks]
    paragraphs += [_thread(names.get(ident, "?"), ident, frame) for ident, frame in sys._current_frames().items()]
    return "\n\n".join(paragraphs) + "\n"


def _task(task: asyncio.Task[Any], *, running: bool) -> str:
    coroutine = task.get_coro()
    name = getattr(coroutine, "__qualname__", repr(coroutine))
    state = "running" if running else "cancelling" if task.cancelling() else "waiting"
    lines = [f"task {task.get_name()} [{state}]: {name}"]
    lines += (f"    {where}" for where in _awaits(coroutine))
    return "\n".join(lines)


def _awaits(coroutine: Any) -> Iterator[str]:
    """Follows a coroutine to what it waits for: Task.get_stack() shows only the outermost frame."""
    while coroutine is not None:
        frame = getattr(coroutine, "cr_frame", None) or getattr(coroutine, "gi_frame", None)
        if frame is None:
            if not hasattr(coroutine, "cr_frame"):
                yield f"on {coroutine!r}"[:200]
            return
        code = frame.f_code
        yield f"{code.co_filename}:{frame.f_lineno} in {getattr(coroutine, '__qualname__', code.co_name)}"
        coroutine = getattr(coroutine, "cr_await", None) or getattr(coroutine, "gi_yieldfrom", None)


def _thread(name: str, ident: int, frame: FrameType) -> str:
    lines = [f"thread {name} [{ident}]"]
    lines += (f"    {entry.filename}:{entry.lineno} in {entry.name}" for entry in traceback.extract_stack(frame))
    return "\n".join(lines)
