"""The exit that leads nowhere: for rules that forbid something."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pog.errors import Failure, FailureKind

if TYPE_CHECKING:
    from collections.abc import Callable

    from pog.tunnel.request import Tunnel, TunnelRequest


class RejectExit:
    """Refuses every request."""

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def problem(self) -> str:
        """It is always there."""
        return ""

    @property
    def down(self) -> bool:
        return False

    def start(self) -> None:
        """Nothing to do."""

    async def close(self) -> None:
        """Nothing to do."""

    def open(self, request: TunnelRequest, done: Callable[[Tunnel | Failure], None]) -> RejectExit:
        """Gives a Failure at once."""
        done(Failure(FailureKind.DENIED, f"{request.destination} is refused by a rule of the client"))
        return self

    def cancel(self) -> None:
        """There is never anything under way."""
