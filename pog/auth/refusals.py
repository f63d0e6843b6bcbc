"""Why logins were refused, for the one who runs the program. Who asked learns only that it was (AuthError).

A stranger may try as many passwords as the threads can check, so the log has a few lines a minute and then a number. A
line costs the same whatever it says, and none waits for the log.

A server names the user that was claimed, known or not: a program claimed it, and somebody has to find its mistake. At a
client people type, sometimes a password where the name belongs, so there a name that is not known is not repeated.
"""

from __future__ import annotations

import enum
import logging
from collections import Counter
from typing import TYPE_CHECKING

from pog.process.timers import after

if TYPE_CHECKING:
    from pog.process.timers import Timer

log = logging.getLogger("pog")

# The most lines, and in how many seconds.
MOST_LINES = 10
WINDOW = 60.0
# A name of that length is no mistake in typing; characters.
_LONGEST_NAME = 64


class Fault(enum.Enum):
    """What is wrong with a login."""

    UNKNOWN = "unknown user"
    WRONG = "wrong password"
    EXPIRED = "expired item"
    MALFORMED = "malformed credentials"


class Refusals:
    """The refused logins of one program; `prefix` is the one of the variables that hold its users."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._names_strangers = prefix == "POG_AUTH_"
        self._window: Timer | None = None
        self._lines = 0
        self._left_out: Counter[Fault] = Counter()

    def add(self, fault: Fault, user: bytes | None, remote: str) -> None:
        """`user` is the name that was claimed, None when there was none. Needs a running event loop."""
        if self._window is None:
            self._window = after(WINDOW, self.end)
        if self._lines >= MOST_LINES:
            self._left_out[fault] += 1
            return
        self._lines += 1
        if user is None or (fault is Fault.UNKNOWN and not self._names_strangers):
            name = ""
        else:
            name = f" of {user.decode(errors='replace')[:_LONGEST_NAME]!r}"
        log.warning("a login%s was refused: %s, from %s (%s*)", name, fault.value, remote, self._prefix)

    def end(self) -> None:
        """Ends a window, and says what it left out."""
        if self._window is not None:
            self._window.cancel()
            self._window = None
        if self._left_out:
            shown = ", ".join(f"{count} {fault.value}" for fault, count in self._left_out.most_common())
            total = self._left_out.total()
            log.warning("%d more logins were refused in %g s: %s (%s*)", total, WINDOW, shown, self._prefix)
        self._lines = 0
        self._left_out.clear()
