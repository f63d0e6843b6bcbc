"""CLIENT_LISTEN: what is understood, and what is not."""

from __future__ import annotations

import pytest

from pog.config.endpoints import Endpoint, parse_endpoints
from pog.net.address import Address, UnixPath

LOCAL = Address("127.0.0.1", 18080)


@pytest.mark.parametrize(
    ("text", "endpoints"),
    [
        ("127.0.0.1:18080", [Endpoint(LOCAL)]),
        (":1", [Endpoint(Address("", 1))]),
        ("http://127.0.0.1:18080/", [Endpoint(LOCAL)]),
        ("https://[::1]:2", [Endpoint(Address("::1", 2), tls=True)]),
        ("unix:/run/pog.sock", [Endpoint(UnixPath("/run/pog.sock"))]),
        ("https://unix:/a b", [Endpoint(UnixPath("/a b"), tls=True)]),
        (
            "127.0.0.1:18080, https://:443 ,unix:/x",
            [Endpoint(LOCAL), Endpoint(Address("", 443), tls=True), Endpoint(UnixPath("/x"))],
        ),
        ("localhost:0,localhost:0", [Endpoint(Address("localhost", 0))] * 2),
    ],
)
def test_understood(text: str, endpoints: list[Endpoint]) -> None:
    assert parse_endpoints(text) == tuple(endpoints)
    assert parse_endpoints(",".join(map(str, endpoints))) == tuple(endpoints)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            ",",
            "a:1,",
            "18080",
            "unix:",
            "unix:x",
            "unix:/a\0b",
            "socks5://:1",
            "https://",
            "https://unix:x",
            "a:b:1",
        ),
        *("a:1,a:1", "a:1,https://a:1", "unix:/x,unix:/x", "a:65536"),
    ],
)
def test_not_understood(text: str) -> None:
    with pytest.raises(ValueError):
        parse_endpoints(text)
