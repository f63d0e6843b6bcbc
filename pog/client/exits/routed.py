"""The exit that is a choice of others: rules say which, and a request that one cannot serve goes to the next.

A request moves on, before its tunnel is open, when an exit cannot be reached, refuses (UNAVAILABLE, UNAUTHENTICATED,
RESOURCE_EXHAUSTED) or is late; a destination's own refusal moves nothing, unless the rule says so. After that its first
flight may go again (retry.py). What to try in which order is the router's.
"""

from __future__ import annotations

import asyncio
import logging
import time
from functools import partial
from typing import TYPE_CHECKING

from pog.client.exits.retry import RetryTransport
from pog.client.exits.router import Router
from pog.errors import Blame, Failure, FailureKind
from pog.process.timers import Timer, after

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pog.client.exits.base import RunningExit
    from pog.client.exits.router import Choice, Route
    from pog.config.rules import Rules
    from pog.tunnel.ended import Ended
    from pog.tunnel.request import Attempt, Tunnel, TunnelRequest

log = logging.getLogger(__name__)

# The server's own dial takes up to 10 s by default, and a container may have to start. With another exit to turn to,
# nothing is waited for longer. Seconds.
LATE = 12.0
# What a text of several failures may have of each.
_LONGEST_REASON = 200


class RoutedExit:
    """`exits` by name. `retry`: whether first flights may go again."""

    name = "rules"

    def __init__(self, exits: Mapping[str, RunningExit], rules: Rules, *, retry: bool = True) -> None:
        self._exits = exits
        self._retry = retry
        self.router = Router(rules, exits, lambda name: exits[name].problem if exits[name].down else "")

    def start(self) -> None:
        for exit in self._exits.values():
            exit.start()

    async def close(self) -> None:
        await asyncio.gather(*(exit.close() for exit in self._exits.values()))

    @property
    def problem(self) -> str:
        """Why no exit can open a tunnel; empty when one can."""
        problems = [f"{name}: {exit.problem}" if exit.problem else "" for name, exit in self._exits.items()]
        return "; ".join(problems) if all(problems) else ""

    @property
    def down(self) -> bool:
        return all(exit.down for exit in self._exits.values())

    def replace(self, rules: Rules) -> None:
        """From now on these rules count; open tunnels go on."""
        self.router.rules = rules

    def open(self, request: TunnelRequest, done: Callable[[Tunnel | Failure], None]) -> Attempt:
        """Begins with the first exit of the route."""
        route = self.router.route(request, time.monotonic())
        search = _Search(self._exits, self.router, route, request, retry=self._retry)
        return search.begin(done)


class _Search:
    """The exits of one request, tried in turn: for its tunnel, and again for its first flight."""

    def __init__(
        self,
        exits: Mapping[str, RunningExit],
        router: Router,
        route: Route,
        request: TunnelRequest,
        *,
        retry: bool,
    ) -> None:
        self._exits = exits
        self._router = router
        self._route = route
        self._request = request
        self._retry = retry
        self._choices = list(route.choices)
        self._failures: list[tuple[str, Failure]] = []
        self._attempt: Attempt | None = None
        self._done: Callable[[Tunnel | Failure], None] | None = None
        self._timer: Timer | None = None
        self._began = 0.0
        self._given_up = ""

    @property
    def left(self) -> bool:
        return bool(self._choices)

    def begin(self, done: Callable[[Tunnel | Failure], None]) -> _Search:
        self._done = done
        self._next()
        return self

    def again(self, why: str, done: Callable[[Tunnel | Failure], None]) -> _Search:
        """For the first flight: the exit before is given up."""
        self._given_up = why
        log.info("%s: %s; the first bytes go again", self._request.destination, why)
        return self.begin(done)

    def cancel(self) -> None:
        self._done = None
        self._stop()

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        attempt, self._attempt = self._attempt, None
        if attempt is not None:
            attempt.cancel()

    def _next(self) -> None:
        choice = self._choices.pop(0)
        self._began = time.monotonic()
        if self._choices:
            self._timer = after(LATE, partial(self._late, choice))
        answered = False

        def tried(result: Tunnel | Failure) -> None:
            nonlocal answered
            answered = True
            self._tried(choice, result)

        attempt = self._exits[choice.exit].open(self._request, tried)
        if not answered and self._done is not None:
            self._attempt = attempt

    def _late(self, choice: Choice) -> None:
        self._timer = None
        self._stop()
        failure = Failure(FailureKind.EXIT_TIMEOUT, f"no answer from the server within {LATE:g} s")
        self._tried(choice, failure)

    def _tried(self, choice: Choice, result: Tunnel | Failure) -> None:
        self._attempt = None
        self._stop()
        if self._done is None:
            return
        if isinstance(result, Failure):
            self._failed(choice, result)
        else:
            self._finish(self._opened(choice, result))

    def _failed(self, choice: Choice, failure: Failure) -> None:
        self._failures.append((choice.exit, failure))
        blame = failure.wording.blame
        if blame in (Blame.EXIT, Blame.US) and not self._exits[choice.exit].down:
            self._router.health[choice.exit].failed(time.monotonic(), failure.text)
        if self._choices and (blame in (Blame.EXIT, Blame.US) or self._route.rule.retry_refused):
            log.info("%s: exit %s: %s; trying the next", self._request.destination, choice.exit, failure.text)
            self._next()
        else:
            self._finish(self._summary(failure))

    def _opened(self, choice: Choice, tunnel: Tunnel) -> Tunnel:
        self._router.opened(self._route, choice.exit, time.monotonic() - self._began)
        tunnel.on_end = partial(self._ended, choice.exit, tunnel.on_end)
        tunnel.rule, tunnel.reason = self._route.rule.name, self._reason(choice)
        # Within `again` the transport that asked is there already.
        if self._retry and self._choices and not self._given_up:
            tunnel.transport = RetryTransport(tunnel, self)
        return tunnel

    def _reason(self, choice: Choice) -> str:
        before = [f"{name}: {failure.text[:_LONGEST_REASON]}" for name, failure in self._failures]
        if self._given_up:
            before.append(self._given_up[:_LONGEST_REASON])
        return "; ".join([choice.reason, *before])

    def _ended(self, exit: str, on_end: Callable[[Ended], None], how: Ended) -> None:
        self._router.closed(self._route, exit)
        on_end(how)

    def _summary(self, failure: Failure) -> Failure:
        """What the user is told: of several exits what each said, with the kind of the last."""
        if len(self._failures) == 1:
            return failure
        said = "; ".join(f"{name}: {each.text[:_LONGEST_REASON]}" for name, each in self._failures)
        return Failure(failure.kind, f"no exit could open the tunnel: {said}", failure.status)

    def _finish(self, result: Tunnel | Failure) -> None:
        done, self._done = self._done, None
        if done is not None:
            done(result)
