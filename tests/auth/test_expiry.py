"""Warnings of auth items that expire."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from pog.auth.expiry import ExpiryWatch, notices
from pog.config.auth_items import AuthItem

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)

if TYPE_CHECKING:
    import pytest


def item(name: str, days: float) -> AuthItem:
    return AuthItem(name, "", NOW + days * DAY)


def said(*items: AuthItem) -> list[tuple[str, str]]:
    return [(logging.getLevelName(each.level), each.text) for each in notices(items, "POG_AUTH_", NOW)]


def test_what_is_said() -> None:
    assert said() == said(item("a", 14.1), item("b", 900)) == []
    assert said(item("a", 0.5), item("b", 900)) == [
        ("WARNING", "auth items (POG_AUTH_*) expire soon: a on 2026-11-26 at 00:00 UTC")
    ]
    assert said(item("b", 900), item("a", -0.5)) == [
        ("WARNING", "auth items (POG_AUTH_*) have expired: a on 2026-11-25 at 00:00 UTC")
    ]
    assert said(item("a", -1)) == [
        ("ERROR", "NOBODY CAN LOG IN: every auth item (POG_AUTH_*) has expired: a on 2026-11-24 at 12:00 UTC")
    ]
    assert [level for level, _ in said(item("a", -1), item("b", 1))] == ["WARNING", "WARNING"]


def test_many_are_one_line_of_bounded_length() -> None:
    ((_, text),) = said(*(item(f"user{number}", -number) for number in range(1, 1001)))
    assert text.endswith(" and 990 more") and "user1000 " in text
    assert len(text) < 600


@given(st.lists(st.floats(-1000, 1000), max_size=30))
def test_each_item_is_in_one_line_at_most(days: list[float]) -> None:
    items = [item(f"<{number}>", each) for number, each in enumerate(days)]
    text = " ".join(text for _, text in said(*items[:10]))
    for each in items[:10]:
        assert text.count(each.name) == (each.expires <= NOW + 14 * DAY)


class Clock:
    """A wall clock that a test sets."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now.timestamp()


def test_it_is_said_when_it_changes_and_once_a_day(caplog: pytest.LogCaptureFixture) -> None:
    clock, items = Clock(), [item("a", 15), item("b", -1)]
    watch = ExpiryWatch(lambda: items, "POG_AUTH_", now=clock)
    levels = []
    for days in (0, 0.5, 2, 2.5, 3, 15.5, 15.6, 16.6):
        caplog.clear()
        clock.now = NOW + days * DAY
        watch.look()
        levels.append([record.levelname for record in caplog.records])
    assert levels == [["WARNING"], [], ["WARNING"], [], ["WARNING"], ["ERROR"], [], ["ERROR"]]
    caplog.clear()
    items[:] = [item("c", 900)]
    watch.look()
    assert caplog.messages == []


def test_only_one_of_several_processes_warns(caplog: pytest.LogCaptureFixture) -> None:
    watch = ExpiryWatch(lambda: [item("a", -1)], "POG_AUTH_", warns=False)
    watch.start()
    watch.look()
    watch.stop()
    assert caplog.messages == []


async def test_the_next_look_is_cancelled_at_the_end() -> None:
    watch = ExpiryWatch(lambda: [], "POG_AUTH_")
    watch.start()
    watch.stop()
