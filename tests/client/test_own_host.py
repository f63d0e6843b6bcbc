"""Who is shown a page: the rule against DNS rebinding."""

from __future__ import annotations

import pytest

from pog.client.own_host import OwnHost, own_host
from pog.errors import Refused
from pog.front.base import PageRequest

NAMES = ("client", "proxy.example.com")


def asked(*hosts: str, version: str = "1.1") -> OwnHost | None:
    return own_host(PageRequest("GET", "/", tuple(("host", host) for host in hosts), version), NAMES)


def refused(*hosts: str, version: str = "1.1") -> int:
    with pytest.raises(Refused) as caught:
        asked(*hosts, version=version)
    return caught.value.failure.http_status


@pytest.mark.parametrize(
    ("host", "here"),
    [
        ("127.0.0.1:18080", OwnHost("127.0.0.1", 18080)),
        ("192.168.1.7", OwnHost("192.168.1.7", None)),
        ("[::1]:18080", OwnHost("::1", 18080)),
        ("[2001:DB8::1]", OwnHost("2001:db8::1", None)),
        ("localhost:18080", OwnHost("localhost", 18080)),
        ("LOCALHOST.", OwnHost("localhost", None)),
        ("client:18080", OwnHost("client", 18080)),
        ("Proxy.Example.COM.:1", OwnHost("proxy.example.com", 1)),
    ],
)
@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_addresses_localhost_and_the_names_that_are_set(host: str, here: OwnHost, version: str) -> None:
    assert asked(host, version=version) == here


@pytest.mark.parametrize(
    "host",
    [
        "attacker.example",
        "attacker.example:18080",
        "127.0.0.1.attacker.example",
        "localhost.attacker.example",
        "xlocalhost",
        "x.localhost",
        "x.client",
        "example.com",
        "127.1",
        "0x7f000001",
        "2130706433",
    ],
)
@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_any_other_name_is_misdirected(host: str, version: str) -> None:
    assert refused(host, version=version) == 421


@pytest.mark.parametrize(
    "host",
    ["", ":18080", "a b", "::1", "[::1", "[localhost]", "client:", "client:x", "client:99999", "u@client", "a/b"],
)
def test_a_malformed_host(host: str) -> None:
    assert refused(host) == 400


def test_no_browser_leaves_host_out_and_none_says_it_twice() -> None:
    assert asked(version="1.0") is None
    assert refused() == 400
    for version in ("1.0", "1.1"):
        assert refused("127.0.0.1", "127.0.0.1", version=version) == 400
