"""SOCKS through both programs, spoken by an independent client: python-socks."""

from __future__ import annotations

import hashlib
import json
import socket
from typing import TYPE_CHECKING

import pytest
from python_socks import ProxyError
from python_socks.sync import Proxy

from tests.helpers import pog
from tests.helpers.items import item
from tests.helpers.origin import blocks, dialogue, digest, echo, source, unused_port
from tests.helpers.user import SECONDS

if TYPE_CHECKING:
    from tests.conftest import Pair
    from tests.helpers.origin import Origin, Origins

MANY = 10 * 1_000_000


def tunnel(client: pog.End, scheme: str, host: str, port: int, login: str = "", rdns: bool = True) -> socket.socket:
    """An open tunnel. Raises ProxyError. `rdns`: the proxy resolves the name."""
    proxy = Proxy.from_url(f"{scheme}://{login}{client.host_port}", rdns=rdns)
    return proxy.connect(host, port, timeout=SECONDS)


@pytest.fixture(scope="module")
def echoing(origins: Origins) -> Origin:
    return origins.start(echo)


@pytest.mark.parametrize(
    ("scheme", "host", "rdns"),
    [
        ("socks4", "127.0.0.1", False),
        ("socks4", "localhost", True),
        ("socks5", "127.0.0.1", False),
        ("socks5", "localhost", False),
        ("socks5", "localhost", True),
        ("http", "localhost", True),
    ],
)
def test_every_front_on_one_port(pair: Pair, echoing: Origin, scheme: str, host: str, rdns: bool) -> None:
    with tunnel(pair.client, scheme, host, echoing.port, rdns=rdns) as sock:
        sock.sendall(b"abc")
        assert sock.recv(3, socket.MSG_WAITALL) == b"abc"


def test_socks5_to_an_ipv6_address(pair: Pair, origins: Origins) -> None:
    origin = origins.start(echo, host="::1")
    with tunnel(pair.client, "socks5", "::1", origin.port) as sock:
        sock.sendall(b"abc")
        assert sock.recv(3, socket.MSG_WAITALL) == b"abc"


@pytest.mark.parametrize("scheme", ["socks4", "socks5"])
def test_megabytes_and_a_half_close(pair: Pair, origins: Origins, scheme: str) -> None:
    size, sha = 0, hashlib.sha256()
    with tunnel(pair.client, scheme, "localhost", origins.start(source(MANY)).port) as sock:
        while data := sock.recv(1 << 18):
            size += len(data)
            sha.update(data)
    assert (size, sha.hexdigest()) == (MANY, digest(MANY))
    with tunnel(pair.client, scheme, "localhost", origins.start(dialogue).port) as sock:
        for block in blocks(MANY):
            sock.sendall(block)
        sock.shutdown(socket.SHUT_WR)
        assert sock.makefile().read() == f"{MANY} {digest(MANY)}"


def test_user_and_password(pair: Pair, echoing: Origin) -> None:
    client = pog.client(pair.server.host_port, {"CLIENT_AUTH_A": item("me", "p:w")})
    with client.program:
        with tunnel(client, "socks5", "localhost", echoing.port, "me:p%3Aw@") as sock:
            sock.sendall(b"abc")
            assert sock.recv(3, socket.MSG_WAITALL) == b"abc"
        client.program.wait_line(rf"pog: localhost:{echoing.port} me SOCKS5 .* 200$")
        for scheme, login, words in (
            ("socks5", "", "No acceptable authentication methods"),
            ("socks5", "me:no@", "Username and password authentication failure"),
            ("socks4", "me:x@", "rejected or failed"),
        ):
            with pytest.raises(ProxyError, match=words):
                tunnel(client, scheme, "localhost", echoing.port, login)
        client.program.wait_line("SOCKS 4 cannot carry: use SOCKS 5 or HTTP")
        assert client.metrics()['tunnels_refused_total{code="407"}'] == 3


@pytest.mark.parametrize(
    ("host", "port", "reply"),
    [("0.0.0.0", 1, 2), ("nowhere.invalid", 80, 4), ("127.0.0.1", None, 5), ("a b", 80, 1)],
    ids=["denied", "dns", "refused", "malformed"],
)
def test_a_refusal_says_why(pair: Pair, host: str, port: int | None, reply: int) -> None:
    with pytest.raises(ProxyError) as caught:
        tunnel(pair.client, "socks5", host, port or unused_port())
    assert caught.value.error_code == reply


def test_the_log_for_machines_names_the_front(pair: Pair, echoing: Origin) -> None:
    client = pog.client(pair.server.host_port, {"LOG_FORMAT": "json"})
    with client.program:
        with tunnel(client, "socks4", "localhost", echoing.port, "me:x@") as sock:
            sock.sendall(b"abc")
            assert sock.recv(3, socket.MSG_WAITALL) == b"abc"
        record = json.loads(client.program.wait_line(r'^.*"bytes_up".*$')[0])
    assert record["httpRequest"]["protocol"] == "SOCKS4"
    assert (record["tunnel"]["front"], record["tunnel"]["user"], record["tunnel"]["bytes_up"]) == ("socks4", "me", 3)
