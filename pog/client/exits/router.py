"""Which exits a request is tried through, in which order, and why. [pure]

1. The first rule that matches says which exits may be used (config/rules.py).
2. `pick = "first"`: in the order of the rule. `pick = "fastest"`: by the time that opening a tunnel took lately; a site
   (eTLD+1) that has live tunnels stays where they are, and the preferred exit changes only for one that is clearly
   faster (HYSTERESIS, and by LEAST_GAIN).
3. Exits that are down come last, in the same order: they cost a request its time only when nothing else is left. An
   exit is down while the client has no connection to it and cannot get one (its pool notices the end of that without
   requests), and for a back-off after it refused a request or was late; one success ends that.
4. The fallback of the rule comes behind all that.

Every choice has its reason in words: for the log, for the page, and for `pog check --explain`.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from pog.config.rules import Rule, Rules
    from pog.tunnel.request import TunnelRequest

# A failing exit is tried again after 1 s, then twice as long each time, up to 30 s.
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0
# Weight of a new measurement: the last ten or so count.
_SMOOTHING = 0.2
# Another exit is preferred when it needs less than this share of the time, and saves at least that, seconds.
HYSTERESIS = 0.8
LEAST_GAIN = 0.01
# Sites whose exit is remembered while nobody uses them.
_MOST_SITES = 4096


@dataclass(slots=True)
class Health:
    """What is known of one exit. Times are in seconds, of one monotonic clock."""

    failures: int = 0
    reason: str = ""
    again_at: float = 0.0
    latency: float | None = None
    opened: int = 0
    failed_total: int = 0

    def is_down(self, now: float) -> bool:
        return now < self.again_at

    def succeeded(self, seconds: float) -> None:
        """A tunnel was opened, `seconds` after it was asked for."""
        self.failures, self.again_at, self.reason = 0, 0.0, ""
        self.opened += 1
        self.latency = seconds if self.latency is None else self.latency + _SMOOTHING * (seconds - self.latency)

    def failed(self, now: float, reason: str) -> None:
        """A request could not be served, for a fault of this exit."""
        self.again_at = now + min(_FIRST_PAUSE * 2 ** min(self.failures, 10), _LONGEST_PAUSE)
        self.failures += 1
        self.failed_total += 1
        self.reason = reason


class Choice(NamedTuple):
    """One exit in its turn, and why it stands there."""

    exit: str
    reason: str
    is_fallback: bool = False


class Route(NamedTuple):
    """What is to be done with a request: these exits in this order, by this rule."""

    rule: Rule
    choices: tuple[Choice, ...]
    site: str = ""


@dataclass(slots=True)
class _Site:
    """The exit of a site under one rule, while tunnels are open to it."""

    exit: str
    live: int = 0


class Router:
    """`down` says of an exit why no connection to it can be had now, or "" while it may be tried."""

    def __init__(self, rules: Rules, exits: Iterable[str], down: Callable[[str], str]) -> None:
        self.rules = rules
        self.health = {name: Health() for name in exits}
        self._down = down
        self._sites: dict[tuple[str, str], _Site] = {}
        # By rule: the exit that is preferred now.
        self._preferred: dict[str, str] = {}

    def successor(
        self, rules: Rules, exits: Iterable[str], kept: Collection[str], down: Callable[[str], str]
    ) -> Router:
        """The router of other rules and exits. What is known of those that are `kept` goes over, and so does where
        sites have live tunnels: requests that began here still report to this one."""
        new = Router(rules, exits, down)
        new.health |= {name: self.health[name] for name in kept}
        new._sites = self._sites
        return new

    def route(self, request: TunnelRequest, now: float) -> Route:
        """The exits for a request, best first; never empty."""
        plan = self.plan(request)
        main = [choice for choice in plan.choices if not choice.is_fallback]
        fallback = [choice for choice in plan.choices if choice.is_fallback]
        return plan._replace(choices=(*self._down_last(main, now), *self._down_last(fallback, now)))

    def plan(self, request: TunnelRequest) -> Route:
        """The same without a look at what is down; `best` takes that into account when an exit's turn comes."""
        destination = request.destination
        # A rule's "http" is the protocol of the program, for tunnels and for plain requests.
        front = "http" if request.front == "forward" else request.front
        rule = self.rules.match(destination.host, destination.port, front, request.user.name)
        if rule.pick == "fastest":
            site = site_of(destination.host)
            return Route(rule, (*self._picked(rule, site), *_fallback(rule)), site)
        return _in_order(rule)

    def best(self, choices: list[Choice], now: float) -> Choice:
        """Takes the first that is not down out of `choices`, or the first if all are. Those of the fallback wait until
        no other is left."""
        for index, choice in enumerate(choices):
            if choice.is_fallback and not choices[0].is_fallback:
                break
            if not self.why_down(choice.exit, now):
                return choices.pop(index)
        return choices.pop(0)

    def _down_last(self, choices: list[Choice], now: float) -> list[Choice]:
        if len(choices) == 1 and not self.health[choices[0].exit].again_at:
            return choices
        up, down = [], []
        for choice in choices:
            reason = self.why_down(choice.exit, now)
            if reason:
                down.append(choice._replace(reason=f"{choice.reason}; down: {reason}"))
            else:
                up.append(choice)
        return up + down

    def why_down(self, exit: str, now: float) -> str:
        """Why an exit comes last, or "" when it does not."""
        health = self.health[exit]
        return self._down(exit) or (health.reason if health.is_down(now) else "")

    def _picked(self, rule: Rule, site: str) -> list[Choice]:
        """By latency: unknown ones first, so that they become known."""
        live = self._sites.get((rule.name, site))
        ranked = sorted(rule.exits, key=lambda name: self.health[name].latency or 0.0)
        first, reason = self._prefer(rule, ranked), "fastest"
        if live is not None and live.live and live.exit in rule.exits:
            first, reason = live.exit, f"{site} has live tunnels there"
        rest = [name for name in ranked if name != first]
        return [Choice(first, _timed(reason, self.health[first])), *(self._next(name) for name in rest)]

    def _next(self, name: str) -> Choice:
        return Choice(name, _timed("next by latency", self.health[name]))

    def _prefer(self, rule: Rule, ranked: list[str]) -> str:
        """The exit preferred under a rule: the one of before, unless another is clearly faster."""
        best = ranked[0]
        old = self._preferred.get(rule.name)
        if old is not None and old in ranked and old != best:
            before, after = self.health[old].latency, self.health[best].latency
            if before is not None and after is not None:
                clearly = after < HYSTERESIS * before and before - after >= LEAST_GAIN
                best = best if clearly else old
        self._preferred[rule.name] = best
        return best

    # What happens

    def opened(self, route: Route, exit: str, seconds: float) -> None:
        """A tunnel is open; `closed` follows. `seconds`: since this exit was asked."""
        self.health[exit].succeeded(seconds)
        if route.site:
            site = self._sites.get((route.rule.name, route.site))
            if site is None or (site.exit != exit and not site.live):
                self._forget_idle()
                site = self._sites[route.rule.name, route.site] = _Site(exit)
            if site.exit == exit:
                site.live += 1

    def closed(self, route: Route, exit: str) -> None:
        """A tunnel has ended."""
        site = self._sites.get((route.rule.name, route.site))
        if site is not None and site.exit == exit and site.live:
            site.live -= 1

    def _forget_idle(self) -> None:
        if len(self._sites) >= _MOST_SITES:
            for key in [key for key, site in self._sites.items() if not site.live]:
                del self._sites[key]


@functools.lru_cache(4096)
def _in_order(rule: Rule) -> Route:
    """Remembered: most requests meet few rules."""
    return Route(rule, (*(Choice(name, "in order") for name in rule.exits), *_fallback(rule)))


def _fallback(rule: Rule) -> list[Choice]:
    return [Choice(name, "fallback", is_fallback=True) for name in rule.fallback if name not in rule.exits]


def _timed(reason: str, health: Health) -> str:
    known = "not measured yet" if health.latency is None else f"{health.latency * 1000:.0f} ms"
    return f"{reason}, {known}"


@functools.lru_cache(4096)
def site_of(host: str) -> str:
    """The registrable domain of a name (eTLD+1), by the list of publicsuffix.org; an address or a short name itself."""
    from pog.config.rules import literal

    name = host.lower().removesuffix(".")
    if literal(host) is not None:
        return name
    return _suffixes().privatesuffix(name) or name


@functools.lru_cache(1)
def _suffixes() -> _PublicSuffixes:
    """Made at first use: it takes some 30 ms and 2 MB."""
    from publicsuffixlist import PublicSuffixList

    found: _PublicSuffixes = PublicSuffixList()
    return found


if TYPE_CHECKING:
    from typing import Protocol

    class _PublicSuffixes(Protocol):
        def privatesuffix(self, domain: str) -> str | None: ...
