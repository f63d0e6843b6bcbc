"""The grammar of a proxy on the way, and what HTTPS_PROXY and NO_PROXY mean."""

from __future__ import annotations

import pytest

from pog.config.exits import Login, NoVia, Via
from pog.config.via import bypassed, chosen, parse_via
from pog.net.address import Address

PROXY = Address("proxy.corp.example", 3128)
SERVER = Address("pog.example.com", 443)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("http://proxy.corp.example:3128", Via("http", PROXY)),
        ("HTTP://proxy.corp.example:3128/", Via("http", PROXY)),
        ("http://proxy.corp.example", Via("http", Address("proxy.corp.example", 80))),
        ("http://[::1]:3128", Via("http", Address("::1", 3128))),
        ("http://[::1]", Via("http", Address("::1", 80))),
        ("http://me:s3c:ret@proxy.corp.example:3128", Via("http", PROXY, Login("me", "s3c:ret"))),
        ("http://me:p@ss#/@proxy.corp.example:3128", Via("http", PROXY, Login("me", "p@ss#/"))),
        ("http://corp%5Cme:%40%3A@proxy.corp.example:3128", Via("http", PROXY, Login("corp\\me", "@:"))),
        ("http://me@proxy.corp.example:3128", Via("http", PROXY, Login("me", ""))),
        ("socks5://127.0.0.1:1080", Via("socks5", Address("127.0.0.1", 1080))),
        ("socks5h://proxy.corp.example", Via("socks5", Address("proxy.corp.example", 1080))),
        ("direct", NoVia()),
    ],
)
def test_proxies_are_urls(text: str, expected: Via | NoVia) -> None:
    assert parse_via(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "proxy.corp.example:3128",
        "https://proxy.corp.example:3128",
        "socks4://proxy.corp.example:1080",
        "http://",
        "http://:3128",
        "http://proxy.corp.example:0",
        "http://proxy.corp.example:65536",
        "http://proxy.corp.example:3128/path",
        "http://:password@proxy.corp.example:3128",
        "http://me%0a:password@proxy.corp.example:3128",
        "http://me%3a:password@proxy.corp.example:3128",
        f"socks5://me:{'x' * 256}@proxy.corp.example:1080",
        "socks5://me@proxy.corp.example:1080",
    ],
)
def test_what_is_no_proxy(text: str) -> None:
    with pytest.raises(ValueError):
        parse_via(text)


def test_the_password_is_in_no_text() -> None:
    via = parse_via("http://me:s3cret@proxy.corp.example:3128")
    assert "s3cret" not in f"{via} {via!r}"
    assert str(via) == "http://me:***@proxy.corp.example:3128"


@pytest.mark.parametrize(
    ("no_proxy", "host", "expected"),
    [
        ("", "pog.example.com", False),
        ("*", "pog.example.com", True),
        ("example.com", "pog.example.com", True),
        ("example.com", "example.com", True),
        ("EXAMPLE.com.", "Example.COM", True),
        ("ample.com", "example.com", False),
        (".example.com", "pog.example.com", True),
        (".example.com", "example.com", False),
        ("*.example.com", "pog.example.com", True),
        ("a.test, example.com", "example.com", True),
        ("a.test example.com", "example.com", True),
        ("example.com:443", "example.com", True),
        ("example.com:8443", "example.com", False),
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.1.2.3", "10.1.2.3", True),
        ("10.1.2.3:443", "10.1.2.3", True),
        ("10.1.2.3:80", "10.1.2.3", False),
        ("10.0.0.0/8", "11.1.2.3", False),
        ("10.0.0.0/8", "10.example", False),
        ("2001:db8::/32", "2001:db8::7", True),
        ("[2001:db8::7]:443", "2001:db8::7", True),
        ("2001:db8::7", "10.1.2.3", False),
        ("3", "10.1.2.3", False),
    ],
)
def test_no_proxy(no_proxy: str, host: str, expected: bool) -> None:
    assert bypassed(no_proxy, Address(host, 443)) is expected


def test_what_is_set_for_the_exit_wins() -> None:
    via = Via("socks5", PROXY, Login("me", "s3cret"))
    environ = {"HTTPS_PROXY": "http://other.example:1", "NO_PROXY": "*"}
    assert chosen(via, SERVER, (), environ) == (via, "")
    assert chosen(NoVia(), SERVER, (), environ) == (None, "")


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy"])
@pytest.mark.parametrize("text", ["http://proxy.corp.example:3128", "proxy.corp.example:3128"])
def test_https_proxy(name: str, text: str) -> None:
    via, note = chosen(None, SERVER, (), {name: text, "HTTP_PROXY": "http://other.example:1"})
    assert via == Via("http", PROXY)
    assert note == f"pog.example.com:443 is reached through http://proxy.corp.example:3128, as {name} says"


def test_capitals_win() -> None:
    via, _ = chosen(None, SERVER, (), {"https_proxy": "other.example:1", "HTTPS_PROXY": "proxy.corp.example:3128"})
    assert via == Via("http", PROXY)


@pytest.mark.parametrize("text", ["https://me:s3cret@proxy.corp.example:3128", "http://me:s3cret@"])
def test_a_value_that_cannot_be_used_is_told_without_its_secrets(text: str) -> None:
    via, note = chosen(None, SERVER, (), {"HTTPS_PROXY": text})
    assert via is None
    assert note.startswith("HTTPS_PROXY is not used: it must be http://")
    assert "s3cret" not in note


def test_no_proxy_is_told() -> None:
    environ = {"HTTPS_PROXY": "proxy.corp.example:3128", "no_proxy": "example.com"}
    assert chosen(None, SERVER, (), environ) == (
        None,
        "pog.example.com:443 is reached directly: no_proxy has it, so HTTPS_PROXY does not count",
    )


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.8.8", "::1", "LocalHost."])
def test_a_server_on_this_machine_needs_no_proxy(host: str) -> None:
    assert chosen(None, Address(host, 8080), (), {"HTTPS_PROXY": "http://proxy.corp.example:3128"}) == (None, "")


@pytest.mark.parametrize(
    ("proxy", "listen", "ourselves"),
    [
        ("127.0.0.1", Address("127.0.0.1", 18080), True),
        ("localhost", Address("127.0.0.1", 18080), True),
        ("127.0.0.1", Address("", 18080), True),
        ("[::1]", Address("::", 18080), True),
        ("gateway", Address("gateway", 18080), True),
        ("proxy.corp.example", Address("", 18080), False),
        ("127.0.0.1", Address("127.0.0.1", 3128), False),
    ],
)
def test_a_proxy_that_is_this_client_is_not_used(proxy: str, listen: Address, ourselves: bool) -> None:
    via, note = chosen(None, SERVER, [Address("x", 1), listen], {"HTTPS_PROXY": f"http://{proxy}:18080"})
    assert (via is None) is ourselves
    assert ("HTTPS_PROXY is this client itself" in note) is ourselves
