"""Every refusal says who refused, why, and in which of the forms that programs understand."""

import socket
from collections.abc import Iterator

import pytest

from tests.conftest import Pair
from tests.helpers import pog
from tests.helpers.origin import full_backlog, unused_port
from tests.helpers.user import Answer, connect, connect_head, send_head

# Answers of a resolver that cannot be reached come soon (man 5 resolv.conf).
RESOLVER = {"RES_OPTIONS": "timeout:1 attempts:1"}


def check_refusal(answer: Answer, status: int, error: str) -> str:
    """Status, X-Proxy-Over-GRPC-Error and Proxy-Status (RFC 9209) agree; gives the text."""
    with answer:
        text = answer.fields.get("x-proxy-over-grpc-error", "")
        body = answer.body
    assert answer.status == status, (answer.head, body)
    assert text and text in body
    assert f"; error={error}" in answer.fields["proxy-status"]
    assert answer.fields["content-type"] == "text/plain; charset=utf-8"
    return text


@pytest.fixture(scope="module")
def hasty() -> Iterator[Pair]:
    """Both ends with short limits, and a client that has no second to lose."""
    server = pog.server({"DIAL_TIMEOUT": "0.5", **RESOLVER})
    with server.program:
        client = pog.client(server.host_port, {"HEAD_TIMEOUT": "0.5"})
        with client.program:
            yield Pair(client, server)


@pytest.fixture(scope="module")
def guarded() -> Iterator[Pair]:
    """A server that allows no destination that it should refuse by default."""
    server = pog.server({"EGRESS_ALLOW": ""})
    with server.program:
        client = pog.client(server.host_port)
        with client.program:
            yield Pair(client, server)


def test_connection_refused(pair: Pair) -> None:
    target = f"127.0.0.1:{unused_port()}"
    assert target in check_refusal(connect(pair.client.address, target), 502, "connection_refused")


def test_a_name_without_address(hasty: Pair) -> None:
    text = check_refusal(connect(hasty.client.address, "no-such-host.invalid:443"), 502, "dns_error")
    assert "no-such-host.invalid:443" in text


def test_a_name_that_cannot_be_encoded(hasty: Pair) -> None:
    check_refusal(connect(hasty.client.address, f"{'a' * 70}.example:443"), 502, "dns_error")


def test_a_destination_that_does_not_answer(hasty: Pair) -> None:
    with full_backlog() as target:
        check_refusal(connect(hasty.client.address, target), 504, "connection_timeout")


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.1.2.3", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "[::]", "169.254.169.254"],
)
def test_destinations_that_are_refused_unless_allowed(guarded: Pair, host: str) -> None:
    text = check_refusal(connect(guarded.client.address, f"{host}:80"), 403, "destination_ip_prohibited")
    assert "EGRESS_ALLOW" in text


@pytest.mark.parametrize("host", ["[fd20:ce::254]", "[fd00:ec2::254]", "100.100.100.200", "169.254.169.254"])
def test_cloud_metadata_is_refused_although_its_network_is_allowed(host: str) -> None:
    server = pog.server({"EGRESS_ALLOW": "fd00::/8,100.64.0.0/10,169.254.0.0/16"})
    with server.program:
        client = pog.client(server.host_port)
        with client.program:
            text = check_refusal(connect(client.address, f"{host}:80"), 403, "destination_ip_prohibited")
            assert f"is a cloud metadata address (EGRESS_ALLOW={host.strip('[]')} on the server" in text


@pytest.mark.parametrize(
    "target", ["nonsense", "host:", ":443", "host:0", "host:65536", "host:http", "::1:443", "[::1:443", "a b:443"]
)
def test_a_malformed_destination(pair: Pair, target: str) -> None:
    check_refusal(connect(pair.client.address, target), 400, "http_request_error")


@pytest.mark.parametrize(
    "head",
    [
        b"HELLO\r\n\r\n",
        b"CONNECT a:1 HTTP/1.1\r\nbad header line\r\n\r\n",
        b"CONNECT a:1 HTTP/1.1\r\nHost : a\r\n\r\n",
        b"CONNECT a:1 HTTP/1.1\r\nX: \x00\r\n\r\n",
    ],
)
def test_a_malformed_head(pair: Pair, head: bytes) -> None:
    answer = send_head(pair.client.address, head)
    check_refusal(answer, 400, "http_request_error")


@pytest.mark.parametrize(
    "first", [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\n", b"\xff"]
)
def test_another_protocol(pair: Pair, first: bytes) -> None:
    check_refusal(send_head(pair.client.address, first), 400, "http_protocol_error")


def test_a_head_that_is_too_long(pair: Pair) -> None:
    answer = send_head(pair.client.address, connect_head("127.0.0.1:1", {"X-Long": "x" * 65536}))
    check_refusal(answer, 431, "http_request_error")


def test_a_head_that_does_not_come(hasty: Pair) -> None:
    with socket.create_connection(hasty.client.address, 10) as sock:
        sock.sendall(b"CONNECT 127.0.0.1:1 HTTP/1.1\r\nHost")
        assert b" 408 " in sock.recv(1 << 16)


def test_a_plain_request_for_https_is_told_to_use_connect(pair: Pair) -> None:
    head = b"GET https://a/ HTTP/1.1\r\nHost: a\r\n\r\n"
    text = check_refusal(send_head(pair.client.address, head), 400, "http_request_error")
    assert "use CONNECT a:443" in text


def test_the_connection_is_closed_after_a_refusal(pair: Pair) -> None:
    """What follows a refused CONNECT may be tunnel bytes; it must not be read as a request."""
    answer = connect(pair.client.address, "nonsense", early=b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
    with answer:
        assert "tunnelling" not in answer.receive_all().decode()
