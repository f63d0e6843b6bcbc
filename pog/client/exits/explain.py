"""What would be done with a request, and why: for the local interface and for `pog check --explain`. [pure]"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pog.config.describe import describe_rule
from pog.config.rules import literal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pog.client.exits.base import RunningExit
    from pog.client.exits.router import Health, Router
    from pog.config.rules import Rules
    from pog.tunnel.request import TunnelRequest

UP = "up"
USE_NAMES = (
    "the program resolves names itself, so {rule}, which names hosts, cannot match: let it use socks5h (curl:"
    " --socks5-hostname) or SOCKS 4A"
)


def explain(request: TunnelRequest, now: float, router: Router, state: Callable[[str], str]) -> dict[str, Any]:
    """The rule, and the exits in the order in which they are tried. `state` says of an exit how it is."""
    route = router.route(request, now)
    exits = [
        {"exit": each.exit, "state": state(each.exit), "why": each.reason, **_measured(router.health[each.exit])}
        for each in route.choices
    ]
    missed = rule_by_name(router.rules, request)
    return {
        **_asked(request),
        "rule": describe_rule(route.rule),
        "exits": exits,
        **({"note": USE_NAMES.format(rule=missed)} if missed else {}),
    }


def explain_only(request: TunnelRequest, exit: str, state: str) -> dict[str, Any]:
    """The same where there is no choice."""
    only = {"exit": exit, "state": state, "why": "the only one"}
    return {**_asked(request), "rule": None, "exits": [only]}


def rule_by_name(rules: Rules, request: TunnelRequest) -> str:
    """The first rule that names hosts and could have matched, had the program sent a name and not an address; or ""."""
    destination = request.destination
    if not request.front.startswith("socks") or literal(destination.host) is None:
        return ""
    matched = rules.match(destination.host, destination.port, request.front, request.user.name)
    for rule in rules.rules:
        if rule is matched:
            break
        if (rule.hosts.names or rule.hosts.suffixes) and rule.fits(destination.port, request.front, request.user.name):
            return rule.name
    return ""


def state_of(exit: RunningExit) -> str:
    """In one word, or why not."""
    problem = exit.problem.removeprefix(f"{exit.name}: ")
    return f"down: {problem}" if problem else UP


def exit_states(exits: Mapping[str, RunningExit], router: Router | None, now: float) -> list[dict[str, Any]]:
    """All exits, and what is known of them."""
    found = []
    for name, exit in exits.items():
        known: dict[str, Any] = {"exit": name, "state": state_of(exit)}
        if router is not None:
            health = router.health[name]
            known |= {**_measured(health), "tunnels_opened": health.opened, "failures": health.failed_total}
            if health.is_down(now):
                known["state"] = f"resting for {health.again_at - now:.0f} s: {health.reason}"
        found.append(known)
    return found


def _measured(health: Health) -> dict[str, Any]:
    return {} if health.latency is None else {"latency_ms": round(health.latency * 1000, 1)}


def _asked(request: TunnelRequest) -> dict[str, Any]:
    return {"destination": str(request.destination), "front": request.front, "user": request.user.name}
