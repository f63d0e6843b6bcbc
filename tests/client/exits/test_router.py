"""The order of exits, with time as an argument."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pog.client.exits.router import HYSTERESIS, Choice, Health, Route, Router, site_of
from pog.config.rules import Rule, Rules, parse_hosts
from pog.net.address import parse_destination
from pog.tunnel.request import ANONYMOUS, TunnelRequest


def router(*rules: Rule, down: dict[str, str] | None = None, exits: str = "abc") -> Router:
    last = Rule(name="no rule", exits=tuple(exits))
    known = {} if down is None else down
    return Router(Rules((*rules, last)), exits, lambda name: known.get(name, ""))


def ask(made: Router, host: str = "example.com", now: float = 0.0) -> Route:
    return made.route(TunnelRequest(parse_destination(f"{host}:443"), ANONYMOUS, "http", "127.0.0.1:1"), now)


def order(made: Router, host: str = "example.com", now: float = 0.0) -> str:
    return "".join(choice.exit for choice in ask(made, host, now).choices)


def test_first_is_the_order_of_the_rule_and_the_fallback_comes_last() -> None:
    rule = Rule(name="x", hosts=parse_hosts(["*.example.com"]), exits=("b", "a"), fallback=("c", "a"))
    made = router(rule)
    assert order(made) == "abc"
    assert order(made, "www.example.com") == "bac"
    assert [choice.reason for choice in ask(made, "www.example.com").choices] == ["in order", "in order", "fallback"]


def test_a_successor_knows_what_was_known_of_the_exits_that_stay_and_where_sites_are() -> None:
    fast = Rule(name="fast", exits=("a", "b"), pick="fastest")
    before = router(fast)
    there = ask(before)
    before.opened(there, "b", 0.5)
    before.health["a"].failed(0.0, "late")
    after = before.successor(Rules((fast, Rule(name="no rule", exits=("a", "b")))), "ab", {"b"}, lambda _: "")
    assert after.health["b"] is before.health["b"]
    assert after.health["a"].failures == 0, "another exit of the same name"
    assert ask(after).choices[0] == Choice("b", "example.com has live tunnels there, 500 ms")
    before.closed(there, "b")
    assert ask(after).choices[0].exit == "a"


def test_plain_http_is_http_to_a_rule() -> None:
    made = router(Rule(name="web", fronts=frozenset({"http"}), exits=("b",)))
    request = TunnelRequest(parse_destination("example.com:80"), ANONYMOUS, "forward", "-")
    assert made.route(request, 0.0).rule.name == "web"


def test_what_is_down_comes_last_and_says_why() -> None:
    down = {"a": "connection refused"}
    made = router(down=down)
    assert order(made) == "bca"
    assert ask(made).choices[-1].reason == "in order; down: connection refused"
    down.clear()
    assert order(made) == "abc"


def test_a_failing_exit_is_left_alone_for_longer_each_time_and_success_ends_that() -> None:
    made = router()
    health = made.health["a"]
    now, pauses = 0.0, []
    for _ in range(8):
        health.failed(now, "late")
        pauses.append(health.again_at - now)
        assert order(made, now=now + pauses[-1] - 0.001) == "bca"
        now = health.again_at
        assert order(made, now=now) == "abc", "it has its chance again"
    assert pauses == [1, 2, 4, 8, 16, 30, 30, 30]
    health.failed(now, "late")
    made.opened(ask(made, now=now), "a", 0.1)
    assert order(made, now=now) == "abc"
    health.failed(now, "late")
    assert health.again_at - now == 1


FASTEST = Rule(name="f", exits=("a", "b", "c"), pick="fastest")


def test_fastest_measures_each_once_and_then_prefers_the_fastest_with_hysteresis() -> None:
    made = router(FASTEST)
    for name, seconds in (("a", 0.2), ("b", 0.1), ("c", 0.3)):
        route = ask(made, f"{name}.test")
        assert route.choices[0].exit == name, "unknown ones first"
        made.opened(route, name, seconds)
        made.closed(route, name)
    assert order(made) == "bac"
    made.health["a"].latency = 0.1 * HYSTERESIS + 0.001
    assert order(made)[0] == "b", "not clearly faster"
    made.health["a"].latency = 0.1 * HYSTERESIS - 0.001
    assert order(made)[0] == "a"
    made.health["a"].latency, made.health["b"].latency = 0.010, 0.001
    assert order(made)[0] == "a", "nine milliseconds are no reason"


def test_a_site_with_live_tunnels_stays_where_it_is() -> None:
    made = router(FASTEST)
    for name in "abc":
        made.health[name].latency = 0.1
    made.health["b"].latency = 0.05
    route = ask(made, "www.example.co.uk")
    made.opened(route, "b", 0.05)
    made.health["a"].latency = 0.001
    assert order(made, "static.example.co.uk")[0] == "b"
    assert "example.co.uk has live tunnels there" in ask(made, "www.example.co.uk").choices[0].reason
    assert order(made, "other.co.uk")[0] == "a"
    made.closed(route, "b")
    assert order(made, "static.example.co.uk")[0] == "a"


@pytest.mark.parametrize(
    ("host", "site"),
    [
        ("www.example.com", "example.com"),
        ("a.b.example.co.uk", "example.co.uk"),
        ("Example.COM.", "example.com"),
        ("me.github.io", "me.github.io"),
        ("localhost", "localhost"),
        ("10.1.2.3", "10.1.2.3"),
        ("2001:db8::1", "2001:db8::1"),
        ("co.uk", "co.uk"),
    ],
)
def test_a_site_is_a_registrable_domain(host: str, site: str) -> None:
    assert site_of(host) == site


EVENTS = st.lists(
    st.tuples(st.sampled_from("abc"), st.sampled_from(["ok", "failed", "wait"]), st.floats(0.001, 2)),
    max_size=30,
)


@given(EVENTS, st.booleans(), st.sets(st.sampled_from("abc")))
def test_every_exit_of_the_rule_stands_in_the_order_once(
    events: list[tuple[str, str, float]], fastest: bool, down: set[str]
) -> None:
    made = router(*([FASTEST] if fastest else []), down=dict.fromkeys(down, "gone"))
    now = 0.0
    for name, what, seconds in events:
        health: Health = made.health[name]
        if what == "ok":
            made.opened(ask(made, now=now), name, seconds)
        elif what == "failed":
            health.failed(now, "x")
        else:
            now += seconds
        found = order(made, now=now)
        assert sorted(found) == ["a", "b", "c"]
        ranks = [bool(made.why_down(each, now)) for each in found]
        assert ranks == sorted(ranks), "those that are down come last"
