"""The exits of one request, tried in turn: for its tunnel, and again for its first flight.

A request moves on, before its tunnel is open, when an exit cannot be reached, refuses (UNAVAILABLE, UNAUTHENTICATED,
RESOURCE_EXHAUSTED) or is late; a destination's own refusal moves nothing, unless the rule says so. After that its first
flight may go again (retry.py).
"""

from __future__ import annotations

import dataclasses
import logging
import time
from functools import partial
from typing import TYPE_CHECKING

from pog.client.exits.retry import RetryTransport
from pog.errors import Blame, Failure, FailureKind
from pog.process.timers import Timer, after

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pog.client.exits.members import Member
    from pog.client.exits.router import Choice, Route, Router
    from pog.observe.exits import ExitMetrics
    from pog.tunnel.ended import Ended
    from pog.tunnel.request import Attempt, Tunnel, TunnelRequest

log = logging.getLogger(__name__)

# The server's own dial takes up to 10 s by default, and a container may have to start. With another exit to turn to,
# nothing is waited for longer. Seconds.
LATE = 12.0
# What a text of several failures may have of each.
_LONGEST_REASON = 200


class Search:
    """`members` and `router` are those of the configuration that the request was made under."""

    def __init__(
        self,
        members: Mapping[str, Member],
        router: Router,
        route: Route,
        request: TunnelRequest,
        metrics: ExitMetrics,
        *,
        retry: bool,
    ) -> None:
        self._members = members
        self._router = router
        self._route = route
        self._request = request
        self._metrics = metrics
        self._retry = retry
        self._choices = list(route.choices)
        self._failures: list[tuple[str, Failure]] = []
        self._attempt: Attempt | None = None
        # The exit that is asked now.
        self._member: Member | None = None
        self._done: Callable[[Tunnel | Failure], None] | None = None
        self._timer: Timer | None = None
        self._began = 0.0
        self._given_up = ""
        # The exit of the tunnel that is open.
        self._through = ""

    @property
    def left(self) -> bool:
        """Whether there is another exit to try."""
        for choice in self._choices:  # a loop: any() would make a generator for each tunnel
            if not self._members[choice.exit].gone:
                return True
        return False

    def begin(self, done: Callable[[Tunnel | Failure], None]) -> Search:
        self._done = done
        self._next()
        return self

    def again(self, why: str, done: Callable[[Tunnel | Failure], None]) -> Search:
        """For the first flight: the exit before is given up."""
        self._given_up = why
        self._metrics.repeated[self._through].inc()
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
        member, self._member = self._member, None
        if member is not None:
            member.release()

    def _next(self) -> None:
        self._began = now = time.monotonic()
        choice = self._router.best(self._choices, now)
        while self._members[choice.exit].gone and self._choices:
            choice = self._router.best(self._choices, now)
        self._member = member = self._members[choice.exit]
        member.use()
        if self.left:
            self._timer = after(LATE, partial(self._late, choice))
        answered = False

        def tried(result: Tunnel | Failure) -> None:
            nonlocal answered
            answered = True
            self._tried(choice, result)

        try:
            attempt = member.exit.open(self._request, tried)
        except BaseException:
            self._stop()
            raise
        if not answered and self._done is not None:
            self._attempt = attempt

    def _late(self, choice: Choice) -> None:
        self._timer = None
        self._stop()
        failure = Failure(FailureKind.EXIT_TIMEOUT, f"no answer from the server within {LATE:g} s")
        self._tried(choice, failure)

    def _tried(self, choice: Choice, result: Tunnel | Failure) -> None:
        self._attempt = None
        if isinstance(result, Failure):
            self._stop()
            if self._done is not None:
                self._failed(choice, result)
            return
        member, self._member = self._member, None  # the tunnel's from here on
        self._stop()
        assert member is not None and self._done is not None
        self._finish(self._opened(choice, member, result))

    def _failed(self, choice: Choice, failure: Failure) -> None:
        self._failures.append((choice.exit, failure))
        blame = failure.wording.blame
        if blame is Blame.EXIT:
            self._metrics.failures[choice.exit].inc()
        if blame in (Blame.EXIT, Blame.US) and not self._members[choice.exit].exit.down:
            self._router.health[choice.exit].failed(time.monotonic(), failure.text)
        if self.left and (blame in (Blame.EXIT, Blame.US) or self._route.rule.retry_refused):
            log.info("%s: exit %s: %s; trying the next", self._request.destination, choice.exit, failure.text)
            self._next()
        else:
            self._finish(self._summary(failure))

    def _opened(self, choice: Choice, member: Member, tunnel: Tunnel) -> Tunnel:
        self._through = choice.exit
        self._metrics.opened[choice.exit].inc()
        self._router.opened(self._route, choice.exit, time.monotonic() - self._began)
        tunnel.on_end = partial(self._ended, member, tunnel.on_end)
        tunnel.rule, tunnel.reason, tunnel.through = self._route.rule.name, self._reason(choice), member
        # Within `again` the transport that asked is there already.
        if self._retry and self.left and not self._given_up:
            tunnel.transport = RetryTransport(tunnel, self)
        return tunnel

    def _reason(self, choice: Choice) -> str:
        before = [f"{name}: {failure.text[:_LONGEST_REASON]}" for name, failure in self._failures]
        if self._given_up:
            before.append(self._given_up[:_LONGEST_REASON])
        return "; ".join([choice.reason, *before])

    def _ended(self, member: Member, on_end: Callable[[Ended], None], how: Ended) -> None:
        self._router.closed(self._route, member.exit.name)
        on_end(how)
        member.release()

    def _summary(self, failure: Failure) -> Failure:
        """What the user is told: of several exits what each said, with the kind of the last."""
        failure = dataclasses.replace(failure, exit=self._failures[-1][0], rule=self._route.rule.name)
        if len(self._failures) == 1:
            return failure
        said = "; ".join(f"{name}: {each.text[:_LONGEST_REASON]}" for name, each in self._failures)
        return dataclasses.replace(failure, text=f"no exit could open the tunnel: {said}")

    def _finish(self, result: Tunnel | Failure) -> None:
        done, self._done = self._done, None
        if done is not None:
            done(result)
