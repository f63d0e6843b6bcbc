"""What every exit of a client is, beside the one method of tunnel/request.py. [pure]"""

from __future__ import annotations

from typing import Protocol

from pog.tunnel.request import Exit


class RunningExit(Exit, Protocol):
    """An exit with a lifetime: made before the event loop does anything, started once, closed in the end."""

    @property
    def name(self) -> str:
        """In logs, metrics and rules."""

    @property
    def problem(self) -> str:
        """Why no tunnel can be opened now; empty when one can."""

    @property
    def down(self) -> bool:
        """Whether that is known from a failed attempt, so that another exit should be tried before this one."""

    def start(self) -> None:
        """Begins to keep what it needs to open tunnels at once."""

    async def close(self) -> None:
        """Ends everything that it has started; tunnels have ended before."""
