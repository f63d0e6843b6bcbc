"""The exit that is a choice of others: rules say which, and a request that one cannot serve goes to the next.

What to try in which order is the router's; search.py tries. Rules and exits can be replaced while tunnels are open:
they go on, and an exit that is gone ends with the last of its own.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from pog.client.exits.explain import USE_NAMES, rule_by_name
from pog.client.exits.router import Router
from pog.client.exits.search import Search

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pog.client.exits.members import Member
    from pog.config.rules import Rules
    from pog.errors import Failure
    from pog.observe.exits import ExitMetrics
    from pog.tunnel.request import Attempt, Tunnel, TunnelRequest

log = logging.getLogger(__name__)


class RoutedExit:
    """`members` by name. `retry`: whether first flights may go again."""

    name = "rules"

    def __init__(
        self, members: Mapping[str, Member], rules: Rules, metrics: ExitMetrics, *, retry: bool = True
    ) -> None:
        self.members = members
        self._metrics = metrics
        metrics.watch(lambda: {name: not member.exit.problem for name, member in self.members.items()})
        self._retry = retry
        self.router = Router(rules, members, _down(members))
        self._started = False
        # One line about programs that resolve names themselves is enough.
        self._told = False
        # Those that are gone from the configuration and still have tunnels, and those that are being closed.
        self._leaving: set[Member] = set()
        self._closing: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        self._started = True
        for member in self.members.values():
            member.exit.start()

    async def close(self) -> None:
        leaving = [*self.members.values(), *self._leaving]
        await asyncio.gather(*(member.exit.close() for member in leaving), *self._closing)

    @property
    def problem(self) -> str:
        """Why no exit can open a tunnel; empty when one can."""
        problems = [f"{name}: {each.exit.problem}" if each.exit.problem else "" for name, each in self.members.items()]
        return "; ".join(problems) if all(problems) else ""

    @property
    def down(self) -> bool:
        return all(member.exit.down for member in self.members.values())

    def replace(self, members: Mapping[str, Member], rules: Rules) -> None:
        """From now on these exits and rules count; a member that was there goes on as it is. Open tunnels go on."""
        before, self.members = self.members, members
        kept = {name for name, member in members.items() if before.get(name) is member}
        self.router = self.router.successor(rules, members, kept, _down(members))
        for name, member in members.items():
            if self._started and name not in kept:
                member.exit.start()
        for name, member in before.items():
            if name not in kept:
                self._leaving.add(member)
                member.leave(lambda member=member: self._end(member))  # type: ignore[misc]

    def _end(self, member: Member) -> None:
        log.info("exit %s: gone from the configuration, and so is its last tunnel", member.exit.name)
        self._leaving.discard(member)
        task = asyncio.get_running_loop().create_task(member.exit.close(), name=f"close {member.exit.name}")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def open(self, request: TunnelRequest, done: Callable[[Tunnel | Failure], None]) -> Attempt:
        """Begins with the first exit of the route."""
        route = self.router.plan(request)
        if not self._told and (missed := rule_by_name(self.router.rules, request)):
            self._told = True
            log.warning("%s by %s: %s", request.destination, request.front, USE_NAMES.format(rule=missed))
        search = Search(self.members, self.router, route, request, self._metrics, retry=self._retry)
        return search.begin(done)


def _down(members: Mapping[str, Member]) -> Callable[[str], str]:
    """Why no connection to an exit can be had now, or ""."""
    return lambda name: members[name].exit.problem.removeprefix(f"{name}: ") if members[name].exit.down else ""
