"""host:port as programs write it in CONNECT, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pog.net.address import join_host_port, parse_host_port


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
