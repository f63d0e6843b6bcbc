"""The kinds of exits. A new one is a file with a class like these, and a line in BUILT_IN."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from pog.client.exits.direct import DirectExit
from pog.client.exits.grpc import GrpcExit
from pog.client.exits.members import Member
from pog.client.exits.reject import RejectExit
from pog.client.exits.routed import RoutedExit
from pog.client.exits.spread import SpreadExit
from pog.config.exits import BuiltIn, ServerExit
from pog.config.rules import Rules
from pog.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pog.client.exits.base import RunningExit
    from pog.config.client_settings import ClientSettings
    from pog.observe.metrics import Metrics


BUILT_IN: dict[str, Callable[[ClientSettings], RunningExit]] = {
    "direct": lambda settings: DirectExit("direct", settings.connect_timeout),
    "reject": lambda settings: RejectExit("reject"),
}


def make_exits(settings: ClientSettings, metrics: Metrics) -> RunningExit:
    """All exits of a client as one. With one exit and no rules it is that one itself, and costs nothing more."""
    if len(settings.exits) == 1 and not settings.rules:
        return make_exit(settings.exits[0], settings, metrics)
    members = {exit.name: Member(exit, make_exit(exit, settings, metrics)) for exit in settings.exits}
    return RoutedExit(members, Rules(settings.rules), metrics.exits, retry=settings.first_flight)


def replace_exits(routed: RoutedExit, settings: ClientSettings, metrics: Metrics) -> None:
    """The exits and rules of these settings take the place of those before; what is declared as before goes on.

    Raises SettingsError, and then nothing has changed.
    """
    members = {}
    for exit in settings.exits:
        before = routed.members.get(exit.name)
        unchanged = before is not None and before.settings == exit
        members[exit.name] = before if before and unchanged else Member(exit, make_exit(exit, settings, metrics))
    routed.replace(members, Rules(settings.rules))


def make_exit(exit: ServerExit | BuiltIn, settings: ClientSettings, metrics: Metrics) -> RunningExit:
    """Raises SettingsError for a kind that does not exist, and when a certificate authority cannot be read."""
    match exit:
        case ServerExit():
            return SpreadExit(exit, metrics) if exit.spread else GrpcExit(exit, metrics)
        case BuiltIn(name):
            if name not in BUILT_IN:
                raise SettingsError("SERVER_ADDR", f"there is no exit {name}:, only {', '.join(sorted(BUILT_IN))}")
            return BUILT_IN[name](settings)
        case _:
            assert_never(exit)
