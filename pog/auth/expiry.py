"""Says in time that auth items expire, and loudly when none is left: then nobody can log in, and nothing else is wrong.

At the start, when the items were exchanged or one of them passes a limit, and once a day while something is to be done.
"""

from __future__ import annotations

import asyncio
import logging
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pog.config.auth_items import AuthItem

log = logging.getLogger("pog")

WARNED_BEFORE = timedelta(days=14)
# Between two looks, seconds: on the wall clock, which may be set, and stands still while a machine sleeps.
_INTERVAL = 600.0
_DAY = timedelta(days=1)
# The most items that one line names.
_MOST_NAMES = 10


class Notice(NamedTuple):
    """Something to say. `daily` while it lasts, otherwise once."""

    level: int
    text: str
    daily: bool


def notices(items: Sequence[AuthItem], prefix: str, now: datetime) -> list[Notice]:
    """What there is to say of these items; `prefix` is that of their variables. [pure]"""
    expired = [item for item in items if item.expires < now]
    soon = [item for item in items if now <= item.expires <= now + WARNED_BEFORE]
    found = []
    if expired and len(expired) == len(items):
        text = f"NOBODY CAN LOG IN: every auth item ({prefix}*) has expired: {_shown(expired)}"
        found.append(Notice(logging.ERROR, text, True))
    elif expired:
        found.append(Notice(logging.WARNING, f"auth items ({prefix}*) have expired: {_shown(expired)}", False))
    if soon:
        found.append(Notice(logging.WARNING, f"auth items ({prefix}*) expire soon: {_shown(soon)}", True))
    return found


def _shown(items: Sequence[AuthItem]) -> str:
    first = sorted(items, key=lambda item: item.expires)
    texts = [f"{item.name} on {item.expires.astimezone(UTC):%Y-%m-%d at %H:%M UTC}" for item in first[:_MOST_NAMES]]
    left = len(items) - len(texts)
    return ", ".join(texts) + (f" and {left} more" if left else "")


class ExpiryWatch:
    """Looks at the items from `start` to `stop`. `warns`: of several processes one is enough."""

    def __init__(
        self,
        items: Callable[[], Sequence[AuthItem]],
        prefix: str,
        *,
        warns: bool = True,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._items = items
        self._prefix = prefix
        self._warns = warns
        self._now = now
        self._said: dict[str, datetime] = {}
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Needs a running event loop."""
        if self._warns:
            self.look()
            self._timer = asyncio.get_running_loop().call_later(_INTERVAL, self.start)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def look(self) -> None:
        """Says what is new, or a day old."""
        if not self._warns:
            return
        now = datetime.fromtimestamp(self._now(), UTC)
        said = {}
        for each in notices(self._items(), self._prefix, now):
            before = self._said.get(each.text)
            if before is None or (each.daily and now - before >= _DAY):
                log.log(each.level, "%s", each.text)
                before = now
            said[each.text] = before
        self._said = said
