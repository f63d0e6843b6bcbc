"""The pages of the client's own port, and who is shown them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.helpers import pog
from tests.helpers.user import get, send_head

if TYPE_CHECKING:
    from tests.conftest import Pair

PAGES = ("/", "/metrics", "/healthz", "/health", "/readyz", "/proxy.pac")


@pytest.mark.parametrize("path", PAGES)
def test_a_page_that_a_browser_was_led_to_by_dns_rebinding_shows_nothing(path: str, pair: Pair) -> None:
    """A script of http://attacker.example:PORT, whose name has come to mean this address."""
    client = pair.client
    status, text = get(client.address, path, {"Host": f"attacker.example:{client.address[1]}"})
    assert status == 421
    assert "PAGES_HOSTS" in text
    for host in (client.host_port, "localhost", f"LOCALHOST:{client.address[1]}", "[::1]:1", "192.0.2.1"):
        assert get(client.address, path, {"Host": host})[0] == 200, host


def test_the_names_of_a_setting(pair: Pair) -> None:
    client = pog.client(pair.server.host_port, {"PAGES_HOSTS": "Client,proxy.example.com"})
    with client.program:
        assert get(client.address, "/metrics", {"Host": "client:18080"})[0] == 200
        assert get(client.address, "/metrics", {"Host": "PROXY.example.com."})[0] == 200
        assert get(client.address, "/metrics", {"Host": "example.com"})[0] == 421


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /metrics HTTP/1.0\r\n\r\n", 200),
        (b"GET /metrics HTTP/1.0\r\nHost: attacker.example\r\n\r\n", 421),
        (b"GET /metrics HTTP/1.1\r\n\r\n", 400),
        (b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nHost: attacker.example\r\n\r\n", 400),
        (b"GET /metrics HTTP/1.1\r\nHost:\r\n\r\n", 400),
    ],
)
def test_without_one_host_field(head: bytes, status: int, pair: Pair) -> None:
    with send_head(pair.client.address, head) as answer:
        assert answer.status == status


def test_the_file_for_browsers_leads_to_where_it_came_from(pair: Pair) -> None:
    client = pair.client
    assert f'"PROXY {client.host_port}"' in get(client.address, "/proxy.pac")[1]
    assert '"PROXY [::1]:3128"' in get(client.address, "/proxy.pac", {"Host": "[::1]:3128"})[1]
    for host in ('127.0.0.1";alert(1);"', '[::1%25";x]:1', "localhost:1;x"):
        assert get(client.address, "/proxy.pac", {"Host": host})[0] == 400
