"""The first bytes decide which front a connection gets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pog.errors import Failure, FailureKind
from pog.front.base import NEED_MORE, FrontOptions, NeedMore, PageRequest, TunnelWanted
from pog.front.sniff import FRONTS, LONGEST_SIGNATURE, STRANGERS, sniff

OPTIONS = FrontOptions()


def front_name(first: bytes) -> str | None:
    """None: more bytes are needed."""
    make = sniff(first)
    return None if isinstance(make, NeedMore) else make(OPTIONS).name


def complaint(first: bytes) -> str:
    make = sniff(first)
    assert not isinstance(make, NeedMore)
    front = make(OPTIONS)
    failure = front.receive_data(first)
    assert isinstance(failure, Failure)
    assert (front.name, failure.kind, front.reusable) == ("unknown", FailureKind.BAD_PROTOCOL, False)
    assert front.refused(failure).startswith(b"HTTP/1.1 400 ")
    return failure.text


@pytest.mark.parametrize(
    ("first", "name"),
    [
        (b"", None),
        (b"\x05", "socks5"),
        (b"\x04", "socks4"),
        (b"CONNECT ", "http"),
        (b"C", "http"),
        (b"GET / HTTP/1.1\r\n", "http"),
        (b"get / HTTP/1.1\r\n", "http"),
        (b"\r\nGET", "http"),
        (b"\n", "http"),
        *(
            (first, None)
            for first in (b"P", b"PR", b"PRI * HTTP/", b"S", b"SSH", b"PROXY", b"\r\n\r\n", b"*1", b"AMQP")
        ),
        *((first, "http") for first in (b"PUT", b"POST", b"PROPFIND", b"PRI *\r", b"PROXYX", b"SEARCH", b"\r\n\r\nG")),
        *((first, "http") for first in (b"*G", b"AMQPX")),
    ],
)
def test_the_first_bytes_decide(first: bytes, name: str | None) -> None:
    assert front_name(first) == name


CLIENT_HELLO = bytes.fromhex("16030100c8010000c40303") + bytes(190)


@pytest.mark.parametrize(
    ("first", "words"),
    [
        (CLIENT_HELLO, "a TLS hello: this port is not TLS"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "HTTP/2: this port speaks HTTP/1.1 and SOCKS"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "SSH"),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n", "the PROXY protocol"),
        (bytes.fromhex("0d0a0d0a000d0a515549540a") + b"\x21", "the PROXY protocol"),
        (bytes.fromhex("0000000804d2162f"), "PostgreSQL"),
        (bytes.fromhex("0000005400030000") + b"user\0me\0", "PostgreSQL"),
        (b"*1\r\n$4\r\nPING\r\n", "Redis"),
        (bytes.fromhex("100c00044d51545404020000"), "MQTT"),
        (b"AMQP\0\0\x09\x01", "AMQP"),
        (bytes.fromhex("030000130ee000000000000100080003000000"), "Remote Desktop"),
        (b"\x13BitTorrent protocol", "BitTorrent"),
        (b"\xff\xfd\x03", "neither HTTP nor SOCKS begins with the byte 0xff"),
        (b"\x00\x01", "neither HTTP nor SOCKS begins with the byte 0x00"),
        (b"\x16\x02", "neither HTTP nor SOCKS begins with the byte 0x16"),
        (b'{"id":1}', "0x7b"),
        (b" GET", "0x20"),
    ],
)
def test_who_came_to_the_wrong_port_is_told_so(first: bytes, words: str) -> None:
    assert words in complaint(first)


def test_the_front_reads_what_it_was_chosen_by() -> None:
    for data, expected in (
        (b"\x04\x01\x01\xbb\x01\x02\x03\x04\0", TunnelWanted),
        (b"CONNECT h:1 HTTP/1.1\r\n\r\n", TunnelWanted),
        (b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", PageRequest),
    ):
        make = sniff(data)
        assert not isinstance(make, NeedMore)
        assert isinstance(make(OPTIONS).receive_data(data), expected)


SIGNATURES = [*(row[0] for row in STRANGERS), *(row[0] for row in FRONTS)]
BEGINNINGS = [bytes(allowed[0] if allowed else 0 for allowed in signature) for signature in SIGNATURES]


@given(st.sampled_from([b"", *BEGINNINGS]), st.binary(max_size=20), st.integers(0, 20))
def test_more_bytes_never_change_the_answer(beginning: bytes, tail: bytes, cut: int) -> None:
    """So it does not depend on how the bytes were split."""
    data = beginning[:cut] + tail
    answers = [front_name(data[:end]) for end in range(len(data) + 1)]
    decided = [answer for answer in answers if answer is not None]
    assert answers == [None] * (len(answers) - len(decided)) + decided
    assert len(set(decided)) <= 1
    if len(data) >= LONGEST_SIGNATURE:
        assert sniff(data) is not NEED_MORE
        first_decided = data[: answers.index(decided[0])]
        if decided[0] == "unknown":
            assert complaint(first_decided) == complaint(data)
