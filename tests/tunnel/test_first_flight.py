"""What may be sent again, and what never."""

from __future__ import annotations

import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pog.tunnel.first_flight import MAX_BYTES, Repeatable, repeatable


def client_hello(name: str = "example.com") -> bytes:
    """As OpenSSL sends it."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


HELLO = client_hello()


def with_extension(hello: bytes, extension: bytes) -> bytes:
    """The hello with one more extension, and every length put right."""
    body = hello[9:]
    pos = 34
    for width in (1, 2, 1):
        pos += width + int.from_bytes(body[pos : pos + width], "big")
    extensions = body[pos + 2 :] + extension
    body = body[:pos] + len(extensions).to_bytes(2, "big") + extensions
    message = b"\x01" + len(body).to_bytes(3, "big") + body
    return hello[:3] + len(message).to_bytes(2, "big") + message


def in_records(hello: bytes, size: int) -> bytes:
    """The same message in records of `size` bytes (RFC 8446 5.1)."""
    message = hello[5:]
    pieces = [message[at : at + size] for at in range(0, len(message), size)]
    return b"".join(hello[:3] + len(piece).to_bytes(2, "big") + piece for piece in pieces)


def test_a_client_hello_and_each_of_its_beginnings() -> None:
    for size in range(1, len(HELLO) + 1):
        assert repeatable(HELLO[:size]) is Repeatable.CLIENT_HELLO, size


def test_one_in_several_records() -> None:
    for size in (1, 7, 100):
        assert repeatable(in_records(HELLO, size)) is Repeatable.CLIENT_HELLO


def test_early_data_is_never_repeated() -> None:
    offered = with_extension(HELLO, b"\x00\x2a\x00\x00")
    assert repeatable(with_extension(HELLO, b"\x12\x34\x00\x01x")) is Repeatable.CLIENT_HELLO
    assert repeatable(offered) is Repeatable.NO
    assert repeatable(in_records(offered, 50)) is Repeatable.NO


@pytest.mark.parametrize("behind", [b"\x17\x03\x03\x00\x01x", b"\x14\x03\x03\x00\x01\x01", b"x", HELLO])
def test_nor_is_a_hello_with_something_behind_it(behind: bytes) -> None:
    assert repeatable(HELLO + behind) is Repeatable.NO


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: h\r\n\r\n",
        b"HEAD /x?y HTTP/1.0\r\n\r\n",
        b"GET / HTTP/1.1\nHost: h\n\n",
        b"GET / HTTP/1.1\r\nHost:",
        b"GET / HT",
        b"G",
        b"HEAD",
    ],
)
def test_a_get_and_its_beginnings(data: bytes) -> None:
    assert repeatable(data) is Repeatable.GET


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"POST / HTTP/1.1\r\nHost: h\r\n\r\n",
        b"PATCH /",
        b"PUT / HTTP/1.1\r\n",
        b"GETTER / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc",
        b"GET / HTTP/1.1\r\nContent-Length: 3\r\n\r\n",
        b"GET / HTTP/1.1\r\ntransfer-encoding : chunked\r\n\r\n",
        b"GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\n\r\nx",
        b"GET /a b HTTP/1.1\r\n\r\n",
        b"SSH-2.0-OpenSSH\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x02",
        b"\x16\x03\x01\x00\x04\x02\x00\x00\x00",
        b"\x16\x03\x01\x00\x00",
        b"GET /" + b"x" * MAX_BYTES,
    ],
)
def test_anything_else_is_not_repeated(data: bytes) -> None:
    assert repeatable(data) is Repeatable.NO


@given(st.binary(max_size=200) | st.binary(max_size=60).map(lambda tail: b"\x16\x03\x01" + tail))
def test_any_bytes_get_an_answer(data: bytes) -> None:
    assert repeatable(data) in Repeatable


@given(st.integers(0, len(HELLO) - 1), st.integers(0, 255))
def test_a_damaged_hello_gets_an_answer(at: int, value: int) -> None:
    assert repeatable(HELLO[:at] + bytes([value]) + HELLO[at + 1 :]) in Repeatable
