"""host:port as programs write it in CONNECT, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pog.net.address import Destination, destination_of, join_host_port, parse_host_port


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("example.com:443", ("example.com", 443)),
        ("1.2.3.4:80", ("1.2.3.4", 80)),
        ("[::1]:65535", ("::1", 65535)),
        ("под.example:1", ("под.example", 1)),
        ("a_b.example.:8080", ("a_b.example.", 8080)),
    ],
)
def test_accepts(text: str, expected: tuple[str, int]) -> None:
    assert parse_host_port(text) == expected
    assert join_host_port(*expected) == text


@pytest.mark.parametrize(
    "text",
    [
        *("", ":", "example.com", "example.com:", ":443", "example.com:0", "example.com:65536", "example.com:4 3"),
        *("::1:443", "[::1]", "[::1:443", "[example.com]:443", "user@example.com:443", "a b:1", "a\r\nb:1", "a/b:1"),
        *("example.com:+443", "example.com:٤٤٣", "http://example.com:443"),
    ],
)
def test_refuses(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        parse_host_port(text)


@given(st.text())
def test_never_fails_otherwise(text: str) -> None:
    try:
        host, port = parse_host_port(text)
    except ValueError:
        return
    assert host and 0 < port < 65536


@pytest.mark.parametrize("text", ["a" * 300 + ":80", f"[::1%{'a' * 300}]:80", "a:0000080", "a:0000800000000"])
def test_what_is_longer_than_any_address_is_refused(text: str) -> None:
    """It would be remembered, and a scope of IPv6 may have any length."""
    with pytest.raises(ValueError, match="expected"):
        parse_host_port(text)


@pytest.mark.parametrize("host", ["[::1%a b]", "[fe80::1%\r\nx]", "a\u2028b", "a\u0085b", "a\u00a0b", "\ud800"])
def test_nothing_that_forges_a_line_of_a_log_is_a_host(host: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        parse_host_port(f"{host}:80")
    with pytest.raises(ValueError, match="expected"):
        destination_of(host, 80)


@pytest.mark.parametrize(
    ("given", "host"),
    [
        ("example.com", "example.com"),
        ("::1", "::1"),
        ("[::1]", "::1"),
        ("fe80::1%eth0", "fe80::1%eth0"),
        ("1.2.3.4",) * 2,
    ],
)
def test_a_host_beside_its_port(given: str, host: str) -> None:
    assert destination_of(given, 65535) == Destination(host, 65535)


@pytest.mark.parametrize(
    ("host", "port"),
    [("", 1), ("a", 0), ("a", 65536), ("a:1", 1), ("[a]", 1), ("[::1", 1), ("::g", 1), ("a" * 256, 1), ("a b", 1)],
)
def test_no_host_beside_a_port(host: str, port: int) -> None:
    with pytest.raises(ValueError, match="expected"):
        destination_of(host, port)


@given(st.text(), st.integers(1, 65535))
def test_both_ways_to_write_a_destination_agree(host: str, port: int) -> None:
    try:
        apart = destination_of(host, port)
    except ValueError:
        with pytest.raises(ValueError, match="expected"):
            parse_host_port(f"{host}:{port}")
    else:
        assert parse_host_port(str(apart)) == (apart.host, apart.port)
