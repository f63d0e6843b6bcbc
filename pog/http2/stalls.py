"""How often, and how long, something that could be sent waits for the peer's permission. [pure]"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable


class Stalls:
    """One wait per key at a time. `clock` gives seconds; `seconds` are those of the waits that are over."""

    __slots__ = ("_clock", "_since", "count", "seconds")

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._since: dict[Hashable, float] = {}
        self.count = 0
        self.seconds = 0.0

    def __len__(self) -> int:
        """Those that wait now."""
        return len(self._since)

    def begin(self, key: Hashable) -> None:
        if key not in self._since:
            self._since[key] = self._clock()
            self.count += 1

    def end(self, key: Hashable) -> None:
        """Does nothing for a key that did not wait."""
        since = self._since.pop(key, None)
        if since is not None:
            self.seconds += self._clock() - since

    def end_all(self) -> None:
        for key in [*self._since]:
            self.end(key)

    @property
    def seconds_so_far(self) -> float:
        """With those of the waits that go on."""
        if not self._since:
            return self.seconds
        now = self._clock()
        return self.seconds + sum(now - since for since in self._since.values())
