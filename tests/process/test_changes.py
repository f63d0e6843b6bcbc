"""A file that is being written is not read; one that has changed is, once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from pog.process import changes
from pog.process.changes import FileWatch

if TYPE_CHECKING:
    import pytest


async def test_what_has_come_to_rest_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "INTERVAL", 0.002)
    looks = [(1, 1, 1), (1, 1, 1), (2, 5, 2), (2, 9, 3), (2, 9, 3), (2, 9, 3), None, (3, 9, 4)]
    looked, over, read = 0, asyncio.Event(), []

    def stamp(path: str) -> tuple[int, int, int] | None:
        nonlocal looked
        looked += 1
        if looked > len(looks) + 3:
            over.set()
        return looks[min(looked, len(looks)) - 1]

    watch = FileWatch("file", lambda: read.append(looked), stamp)
    await over.wait()
    watch.close()
    assert read == [5, 9], "the second equal look at each"
