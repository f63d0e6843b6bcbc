"""The kinds of exits. A new one is a file with a class like these, and a line in BUILT_IN."""

from __future__ import annotations

import logging
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
    from pog.tunnel.live import Tunnels

log = logging.getLogger(__name__)

BUILT_IN: dict[str, Callable[[ClientSettings], RunningExit]] = {
    "direct": lambda settings: DirectExit("direct", settings.connect_timeout),
    "reject": lambda settings: RejectExit("reject"),
}


def make_exits(settings: ClientSettings, metrics: Metrics, tunnels: Tunnels) -> RunningExit:
    """All exits of a client as one. With one exit and no rules it is that one itself, and costs nothing more."""
    if len(settings.exits) == 1 and not settings.rules:
        return make_exit(settings.exits[0], settings, metrics)
    members = {exit.name: _member(exit, settings, metrics, tunnels) for exit in settings.exits}
    return RoutedExit(members, Rules(settings.rules), metrics.exits, retry=settings.first_flight)


def replace_exits(routed: RoutedExit, settings: ClientSettings, metrics: Metrics, tunnels: Tunnels) -> None:
    """The exits and rules of these settings take the place of those before; what is declared as before goes on.

    Raises SettingsError, and then nothing has changed.
    """
    members = {}
    for exit in settings.exits:
        before = routed.members.get(exit.name)
        unchanged = before is not None and before.settings == exit
        members[exit.name] = before if before and unchanged else _member(exit, settings, metrics, tunnels)
    routed.replace(members, Rules(settings.rules))


def _member(exit: ServerExit | BuiltIn, settings: ClientSettings, metrics: Metrics, tunnels: Tunnels) -> Member:
    """With `on_dead = "close"` its tunnels, which a server that is going away may still serve, are reset when no other
    connection to it can be had: programs connect again, and the rules give them another exit."""

    def dead() -> None:
        if closed := tunnels.end_through(member):
            log.warning("exit %s: it is dead: open tunnels closed: %d", exit.name, closed)

    closes = isinstance(exit, ServerExit) and exit.on_dead == "close"
    member = Member(exit, make_exit(exit, settings, metrics, dead if closes else None))
    return member


def make_exit(
    exit: ServerExit | BuiltIn,
    settings: ClientSettings,
    metrics: Metrics,
    on_dead: Callable[[], None] | None = None,
) -> RunningExit:
    """`on_dead` is called after each failed dial to a server that leaves the exit down.

    Raises SettingsError for a kind that does not exist, and when a certificate authority cannot be read.
    """
    match exit:
        case ServerExit():
            return SpreadExit(exit, metrics, on_dead=on_dead) if exit.spread else GrpcExit(exit, metrics, on_dead)
        case BuiltIn(name):
            if name not in BUILT_IN:
                raise SettingsError("SERVER_ADDR", f"there is no exit {name}:, only {', '.join(sorted(BUILT_IN))}")
            return BUILT_IN[name](settings)
        case _:
            assert_never(exit)
