"""The file that sets up a browser, as a JavaScript engine reads it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pog.client.own_host import OwnHost, own_host
from pog.client.pac import pac
from pog.config.rules import Rule, parse_hosts, parse_ports
from pog.errors import Refused
from pog.front.base import PageRequest

NODE = shutil.which("node")


def test_the_proxy_is_the_address_by_which_it_was_found() -> None:
    assert '"PROXY 127.0.0.1:18080"' in pac(OwnHost("127.0.0.1", 18080))
    assert '"PROXY [::1]:3128"' in pac(OwnHost("::1", 3128))
    assert '"PROXY [fe80::1]:3128"' in pac(OwnHost("fe80::1%eth0", 3128))
    assert '"PROXY client:80"' in pac(OwnHost("client", None))
    assert '"HTTPS client:443"' in pac(OwnHost("client", None), tls=True)
    assert '"HTTPS 127.0.0.1:18443"' in pac(OwnHost("127.0.0.1", 18443), tls=True)


HOSTS = st.text(st.characters(max_codepoint=255)) | st.from_regex(
    r"(127\.0\.0\.1|\[(::1|fe80::1%[^]]*)\]|localhost|client)[\x00-\xff]{0,20}", fullmatch=True
)


@given(HOSTS)
@example('[fe80::1%";alert(1);"]:1')
@example("[fe80::1%eth0]:1")
@example('client";alert(1);":1')
def test_nothing_of_a_request_gets_into_the_program_but_an_address(host: str) -> None:
    """Whatever stands in Host: it is refused, or what stands between the quotes is an address."""
    try:
        here = own_host(PageRequest("GET", "/proxy.pac", (("host", host),), "1.1"), ("client",))
    except Refused:
        return
    assert here is not None
    usual = pac(OwnHost("localhost", 1))
    before, _, after = usual.partition("PROXY localhost:1")
    said = pac(here)
    assert said.startswith(before) and said.endswith(after)
    assert re.fullmatch(r"PROXY [a-z0-9.]+:\d+|PROXY \[[0-9a-f:.]+\]:\d+", said[len(before) : -len(after)])


@pytest.mark.skipif(NODE is None, reason="node is not installed")
def test_loopback_and_plain_names_are_direct_and_all_else_is_not() -> None:
    direct = ["localhost", "LocalHost", "a.localhost", "printer", "127.0.0.1", "127.9.8.7", "::1", "[::1]"]
    direct += ["localhost.", "::ffff:127.0.0.1", "[::ffff:7f00:1]"]
    through = ["example.com", "example.com.", "127.0.0.1.example.com", "10.0.0.1", "1.127.0.0.1", "notlocalhost.com"]
    through += ["2001:db8::1", "[2001:db8::1]", "::1.example", "localhost.example"]
    hosts = json.dumps(direct + through)
    script = (
        pac(OwnHost("127.0.0.1", 1)) + f"console.log(JSON.stringify({hosts}.map(h => FindProxyForURL('http://x/', h))))"
    )
    ended = subprocess.run([NODE or "", "-e", script], capture_output=True, text=True, check=True, timeout=30)
    assert json.loads(ended.stdout) == ["DIRECT"] * len(direct) + ["PROXY 127.0.0.1:1"] * len(through)


RULES = (
    Rule(name="a", hosts=parse_hosts(["vpn.corp.example"]), exits=("west",)),
    Rule(name="b", hosts=parse_hosts(["*.corp.example", "10.0.0.0/8", "printer"]), exits=("direct",)),
    Rule(name="c", hosts=parse_hosts(["*.mixed.example"]), exits=("direct", "west")),
    Rule(name="d", hosts=parse_hosts(["*.user.example"]), users=frozenset({"ilya"}), exits=("direct",)),
    Rule(name="e", hosts=parse_hosts(["socks.example"]), fronts=frozenset({"socks5"}), exits=("direct",)),
    Rule(name="f", ports=parse_ports([8080, "9000-9010"]), exits=("direct",)),
    Rule(name="g", exits=("west",)),
)


@pytest.mark.skipif(NODE is None, reason="node is not installed")
def test_what_rules_send_to_direct_is_direct() -> None:
    proxy = "PROXY 127.0.0.1:1"
    expected = {
        "https://wiki.corp.example/": "DIRECT",
        "https://corp.example/": proxy,
        "https://vpn.corp.example/": proxy,
        "https://10.1.2.3/": "DIRECT",
        "https://11.1.2.3/": proxy,
        "http://printer/": "DIRECT",
        "http://other/": "DIRECT",
        "https://a.mixed.example/": f"DIRECT; {proxy}",
        "https://a.user.example/": proxy,
        "https://socks.example/": proxy,
        "http://example.com:8080/x": "DIRECT",
        "http://example.com:9011/x": proxy,
        "http://me:pw@example.com:9003/": "DIRECT",
        "https://[2001:db8::1]:8080/": proxy,
        "https://127.0.0.1:8080/": "DIRECT",
    }
    urls = json.dumps(list(expected))
    script = (
        pac(OwnHost("127.0.0.1", 1), rules=RULES)
        + f"console.log(JSON.stringify({urls}.map(u => FindProxyForURL(u, new URL(u).hostname))))"
    )
    ended = subprocess.run([NODE or "", "-e", script], capture_output=True, text=True, check=True, timeout=30)
    assert dict(zip(expected, json.loads(ended.stdout), strict=True)) == expected
    assert "rules" not in pac(OwnHost("127.0.0.1", 1), rules=RULES[:1])
