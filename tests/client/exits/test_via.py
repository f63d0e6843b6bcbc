"""What is said to a proxy on the way, and what is made of its answers."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pog.client.exits.via import handshake
from pog.config.exits import Login, Via
from pog.errors import ExitUnavailable, FailureKind
from pog.net.address import Address

LOGIN = Login("mé", "s3cret:")
ADDRESS = Address("proxy.example", 3128)
HTTP, HTTP_LOGIN = Via("http", ADDRESS), Via("http", ADDRESS, LOGIN)
SOCKS, SOCKS_LOGIN = Via("socks5", ADDRESS), Via("socks5", ADDRESS, LOGIN)
# What the server says behind the proxy's answer; nothing of it may be read.
BEHIND = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"


def talk(via: Via, answers: bytes, host: str = "pog.example", port: int = 443) -> tuple[bytes, bytes]:
    """What was sent to a proxy that says `answers`, and what of these was left. Raises ExitUnavailable."""
    sent, steps = b"", handshake(via, host, port)
    data, wanted = next(steps)
    try:
        while True:
            sent += data
            assert wanted > 0
            got, answers = answers[:wanted], answers[wanted:]
            data, wanted = steps.send(got)
    except StopIteration:
        return sent, answers


def refused(via: Via, answers: bytes) -> tuple[FailureKind, str]:
    with pytest.raises(ExitUnavailable) as caught:
        talk(via, answers)
    assert "s3cret" not in str(caught.value)
    assert str(caught.value).startswith(f"the proxy {via} ")
    return caught.value.failure.kind, str(caught.value).removeprefix(f"the proxy {via} ")


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 Connection established\r\n\r\n",
        b"HTTP/1.0 200\r\nVia: 1.1 proxy\r\n\r\n",
        b"HTTP/1.1 204 \r\nContent-Length: 7\r\nTransfer-Encoding: chunked\r\n\r\n",  # RFC 9110 9.3.6: to be ignored
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
    ],
)
def test_connect(head: bytes) -> None:
    sent, rest = talk(HTTP, head + BEHIND)
    assert rest == BEHIND
    first, *fields = sent.decode().split("\r\n")
    assert first == "CONNECT pog.example:443 HTTP/1.1"
    assert fields[0] == "Host: pog.example:443"
    assert sent.endswith(b"\r\n\r\n")
    assert b"authorization" not in sent.lower()


def test_connect_with_a_login_and_to_an_address() -> None:
    sent, _ = talk(HTTP_LOGIN, b"HTTP/1.1 200 OK\r\n\r\n", "2001:db8::7", 8080)
    assert sent.startswith(b"CONNECT [2001:db8::7]:8080 HTTP/1.1\r\nHost: [2001:db8::7]:8080\r\n")
    assert b"Proxy-Authorization: Basic " + base64.b64encode("mé:s3cret:".encode()) in sent


@pytest.mark.parametrize(
    ("via", "head", "kind", "text"),
    [
        (HTTP, b"HTTP/1.1 407 Auth\r\n\r\n", FailureKind.EXIT_CREDENTIALS, "wants user and password (407 Auth)"),
        (HTTP_LOGIN, b"HTTP/1.1 407\r\n\r\n", FailureKind.EXIT_CREDENTIALS, "does not take mé:*** (407)"),
        (
            HTTP,
            b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno",
            FailureKind.EXIT_MISCONFIGURED,
            "refuses CONNECT pog.example:443: 403 Forbidden",
        ),
        (
            HTTP,
            b"HTTP/1.1 502 Bad Gateway\r\n\r\n",
            FailureKind.EXIT_UNAVAILABLE,
            "refuses CONNECT pog.example:443: 502 Bad Gateway",
        ),
        (HTTP, b"\x05\xff", FailureKind.EXIT_MISCONFIGURED, "does not answer in HTTP; is it socks5://?"),
        (HTTP, b"HTTP/1.1 2", FailureKind.EXIT_UNAVAILABLE, "closed the connection instead of an answer"),
        (HTTP, b"HTTP/1.1 200 OK\r\nX: " + b"x" * 20_000, FailureKind.EXIT_MISCONFIGURED, "does not answer in HTTP"),
    ],
)
def test_connect_refused(via: Via, head: bytes, kind: FailureKind, text: str) -> None:
    found, said = refused(via, head)
    assert found is kind
    assert said.startswith(text)


GRANTED_4 = b"\x05\x00\x00\x01\x7f\x00\x00\x01\x04\x38"
GRANTED_6 = b"\x05\x00\x00\x04" + bytes(18)
GRANTED_NAME = b"\x05\x00\x00\x03\x05proxy\x04\x38"
TO_NAME = b"\x05\x01\x00\x03\x0bpog.example\x01\xbb"


@pytest.mark.parametrize("granted", [GRANTED_4, GRANTED_6, GRANTED_NAME])
def test_socks5(granted: bytes) -> None:
    assert talk(SOCKS, b"\x05\x00" + granted + BEHIND) == (b"\x05\x01\x00" + TO_NAME, BEHIND)


def test_socks5_with_a_login() -> None:
    login = b"\x01\x03" + "mé".encode() + b"\x07s3cret:"
    assert talk(SOCKS_LOGIN, b"\x05\x02\x01\x00" + GRANTED_4 + BEHIND) == (
        b"\x05\x02\x00\x02" + login + TO_NAME,
        BEHIND,
    )
    assert talk(SOCKS_LOGIN, b"\x05\x00" + GRANTED_4 + BEHIND) == (b"\x05\x02\x00\x02" + TO_NAME, BEHIND)


@pytest.mark.parametrize(
    ("host", "address"), [("192.0.2.7", b"\x01\xc0\x00\x02\x07"), ("::1", b"\x04" + bytes(15) + b"\x01")]
)
def test_socks5_to_an_address(host: str, address: bytes) -> None:
    sent, _ = talk(SOCKS, b"\x05\x00" + GRANTED_4, host, 258)
    assert sent == b"\x05\x01\x00\x05\x01\x00" + address + b"\x01\x02"


@pytest.mark.parametrize(
    ("via", "answers", "kind", "text"),
    [
        (SOCKS, b"HTTP/1.1 400", FailureKind.EXIT_MISCONFIGURED, "does not answer in SOCKS 5; is it http://?"),
        (SOCKS, b"\x05\xff", FailureKind.EXIT_CREDENTIALS, "wants user and password"),
        (SOCKS_LOGIN, b"\x05\xff", FailureKind.EXIT_CREDENTIALS, "wants another login than user and password"),
        (SOCKS, b"\x05\x02", FailureKind.EXIT_MISCONFIGURED, "chose a login that was not offered (0x2)"),
        (SOCKS_LOGIN, b"\x05\x02\x01\x01", FailureKind.EXIT_CREDENTIALS, "does not take mé:***"),
        (SOCKS, b"\x05\x00\x05\x02\x00", FailureKind.EXIT_MISCONFIGURED, "refuses pog.example:443: not allowed by its"),
        (SOCKS, b"\x05\x00\x05\x05", FailureKind.EXIT_UNAVAILABLE, "refuses pog.example:443: connection refused"),
        (SOCKS, b"\x05\x00\x05\x99", FailureKind.EXIT_MISCONFIGURED, "refuses pog.example:443: reply 0x99"),
        (SOCKS, b"\x05\x00\x05\x00\x00\x02", FailureKind.EXIT_MISCONFIGURED, "answers with an address of type 0x2"),
        (SOCKS, b"", FailureKind.EXIT_UNAVAILABLE, "closed the connection during the handshake"),
        (SOCKS, b"\x05\x00" + GRANTED_4[:-1], FailureKind.EXIT_UNAVAILABLE, "closed the connection during the"),
    ],
)
def test_socks5_refused(via: Via, answers: bytes, kind: FailureKind, text: str) -> None:
    found, said = refused(via, answers)
    assert found is kind
    assert said.startswith(text)


@given(st.sampled_from([HTTP, HTTP_LOGIN, SOCKS, SOCKS_LOGIN]), st.binary(max_size=64))
def test_a_proxy_may_say_anything(via: Via, answers: bytes) -> None:
    try:
        talk(via, answers)
    except ExitUnavailable as error:
        assert "\n" not in str(error)
