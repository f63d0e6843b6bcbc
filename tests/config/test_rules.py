"""Which rule a request meets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pog.config.rules import Rule, Rules, covers, parse_hosts, parse_ports


def rules(*hosts: list[str], **changes: object) -> Rules:
    made = [Rule(name=f"rules[{n}]", hosts=parse_hosts(each), exits=("a",)) for n, each in enumerate(hosts)]
    return Rules((*made, Rule(name="the last")))


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("example.com", "rules[0]"),
        ("EXAMPLE.com.", "rules[0]"),
        ("www.example.com", "rules[1]"),
        ("a.b.example.com", "rules[1]"),
        ("badexample.com", "the last"),
        ("10.1.2.3", "rules[2]"),
        ("::ffff:10.1.2.3", "rules[2]"),
        ("2001:db8::7", "rules[2]"),
        ("2001:db8::7%eth0", "rules[2]"),
        ("11.0.0.1", "the last"),
        ("192.0.2.7", "rules[3]"),
        ("10.1.2.3.example.org", "the last"),
        ("bücher.example", "rules[4]"),
        ("localhost", "the last"),
    ],
)
def test_hosts(host: str, expected: str) -> None:
    found = rules(
        ["example.com"], ["*.example.com"], ["10.0.0.0/8", "2001:db8::/32"], ["192.0.2.7"], ["Bücher.example"]
    )
    assert found.match(host, 443, "http", "anonymous").name == expected


def test_the_first_that_matches_counts_whatever_its_kind() -> None:
    found = rules(["*.example.com"], ["www.example.com"], ["*"], ["other.example"])
    assert found.match("www.example.com", 1, "http", "x").name == "rules[0]"
    assert found.match("other.example", 1, "http", "x").name == "rules[2]"


def test_ports_fronts_and_users_count_too() -> None:
    found = Rules(
        (
            Rule(name="ssh", ports=parse_ports([22, "2200-2299"])),
            Rule(name="socks", fronts=frozenset({"socks5", "socks4"})),
            Rule(name="ilya", users=frozenset({"ilya"})),
            Rule(name="the last"),
        )
    )
    assert found.match("h", 22, "socks5", "ilya").name == "ssh"
    assert found.match("h", 2250, "http", "x").name == "ssh"
    assert found.match("h", 23, "socks4", "ilya").name == "socks"
    assert found.match("h", 23, "http", "ilya").name == "ilya"
    assert found.match("h", 23, "http", "x").name == "the last"


@pytest.mark.parametrize("text", ["", "*example.com", "*.", "a..b", "http://x", "10.0.0.1/8", "a:443", "x" * 64, "*.*"])
def test_what_is_no_host_is_named(text: str) -> None:
    with pytest.raises(ValueError, match="is no (host|network)"):
        parse_hosts([text])


@pytest.mark.parametrize("port", [0, 65536, "x", "9-8", "1-70000", "-1", True and "1-2-3"])
def test_what_is_no_port_is_named(port: int | str) -> None:
    with pytest.raises(ValueError, match="is no port"):
        parse_ports([port])


LABELS = st.sampled_from(["a", "b", "com"])
NAMES = st.lists(LABELS, min_size=1, max_size=4).map(".".join)
ADDRESSES = st.sampled_from(["10.0.0.1", "10.1.0.1", "192.0.2.1", "2001:db8::1"])
PATTERNS = NAMES | NAMES.map("*.{}".format) | ADDRESSES | st.sampled_from(["*", "10.0.0.0/8", "10.0.0.0/15", "::/0"])
RULES = st.builds(
    lambda hosts, ports, users: Rule(name="x", hosts=parse_hosts(hosts), ports=parse_ports(ports), users=users),
    st.lists(PATTERNS, min_size=1, max_size=3),
    st.lists(st.sampled_from([1, 2, "1-2", "2-3"]), max_size=2),
    st.frozensets(st.sampled_from(["u", "v"]), max_size=2),
)
REQUESTS = st.tuples(NAMES | ADDRESSES, st.integers(1, 4), st.sampled_from(["u", "v", "w"]))


def matches(rule: Rule, host: str, port: int, user: str) -> bool:
    """By itself, the slow and plain way."""
    return Rules((rule, Rule(name="the last"))).match(host, port, "http", user) is rule


@given(st.lists(RULES, max_size=6), REQUESTS)
def test_the_index_finds_what_a_search_finds(made: list[Rule], request: tuple[str, int, str]) -> None:
    last = Rule(name="the last")
    expected = next((rule for rule in made if matches(rule, *request)), last)
    host, port, user = request
    assert Rules((*made, last)).match(host, port, "http", user) is expected


@given(RULES, RULES, REQUESTS)
def test_a_rule_that_is_covered_never_matches_alone(one: Rule, other: Rule, request: tuple[str, int, str]) -> None:
    if covers(one, other) and matches(other, *request):
        assert matches(one, *request)
