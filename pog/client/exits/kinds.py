"""The kinds of exits. A new one is a file with a class like these, and a line in BUILT_IN."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, assert_never

from pog.client.exits.direct import DirectExit
from pog.client.exits.grpc import GrpcExit
from pog.client.exits.reject import RejectExit
from pog.config.exits import BuiltIn, ServerExit
from pog.errors import SettingsError
from pog.tunnel.request import Exit

if TYPE_CHECKING:
    from collections.abc import Callable

    from pog.config.settings import ClientSettings
    from pog.observe.metrics import Metrics


class RunningExit(Exit, Protocol):
    """An exit with a lifetime: made before the event loop does anything, started once, closed in the end."""

    @property
    def name(self) -> str:
        """In logs, metrics and rules."""

    @property
    def problem(self) -> str:
        """Why no tunnel can be opened now; empty when one can."""

    def start(self) -> None:
        """Begins to keep what it needs to open tunnels at once."""

    async def close(self) -> None:
        """Ends everything that it has started; tunnels have ended before."""


BUILT_IN: dict[str, Callable[[ClientSettings], RunningExit]] = {
    "direct": lambda settings: DirectExit("direct", settings.connect_timeout),
    "reject": lambda settings: RejectExit("reject"),
}


def make_exit(exit: ServerExit | BuiltIn, settings: ClientSettings, metrics: Metrics) -> RunningExit:
    """Raises SettingsError for a kind that does not exist, and when a certificate authority cannot be read."""
    match exit:
        case ServerExit():
            return GrpcExit(exit, metrics)
        case BuiltIn(name):
            if name not in BUILT_IN:
                raise SettingsError("SERVER_ADDR", f"there is no exit {name}:, only {', '.join(sorted(BUILT_IN))}")
            return BUILT_IN[name](settings)
        case _:
            assert_never(exit)
