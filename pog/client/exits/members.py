"""One exit among several: what the configuration says of it, what runs, and who uses it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from pog.client.exits.base import RunningExit
    from pog.config.exits import BuiltIn, ServerExit


@dataclass(slots=True, eq=False)
class Member:
    """`uses` counts attempts under way and open tunnels. A member that is `gone` from the configuration gets no new
    ones, and ends with the last."""

    settings: ServerExit | BuiltIn
    exit: RunningExit
    uses: int = 0
    _end: Callable[[], None] | None = field(default=None, init=False)

    @property
    def gone(self) -> bool:
        return self._end is not None

    def use(self) -> None:
        """An attempt begins; `release` follows."""
        self.uses += 1

    def release(self) -> None:
        """The attempt has failed, or its tunnel has ended."""
        self.uses -= 1
        if self._end is not None and not self.uses:
            self._end()

    def leave(self, end: Callable[[], None]) -> None:
        """It is gone from the configuration; `end` is called once nobody uses it."""
        self._end = end
        if not self.uses:
            end()
