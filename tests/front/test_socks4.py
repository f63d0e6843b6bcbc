"""SOCKS 4 and 4A, byte for byte."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pog.errors import Failure, FailureKind
from pog.front.base import NEED_MORE, FrontOptions, TunnelWanted
from pog.front.socks4 import Socks4
from pog.net.address import Destination
from tests.front.dialogue import Talk, splits, talk

OPEN, GUARDED = FrontOptions(), FrontOptions(credentials_wanted=True)
NAMED = (0, 0, 0, 1)
REJECTED = b"\x00\x5b" + bytes(6)


def request(
    address: tuple[int, int, int, int],
    user_id: bytes = b"",
    name: bytes | None = None,
    port: int = 443,
    command: int = 1,
) -> bytes:
    tail = b"" if name is None else name + b"\0"
    return bytes((4, command)) + struct.pack("!H", port) + bytes(address) + user_id + b"\0" + tail


@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        (request((127, 0, 0, 1), port=1), TunnelWanted(Destination("127.0.0.1", 1))),
        (request((8, 8, 8, 8), b"ilya"), TunnelWanted(Destination("8.8.8.8", 443), user_id="ilya")),
        (request((0, 0, 0, 0)), TunnelWanted(Destination("0.0.0.0", 443))),
        (request((0, 0, 1, 0)), TunnelWanted(Destination("0.0.1.0", 443))),
        (request(NAMED, b"", b"example.com"), TunnelWanted(Destination("example.com", 443))),
        (request((0, 0, 0, 255), b"i", b"x" * 255), TunnelWanted(Destination("x" * 255, 443), user_id="i")),
        (request(NAMED, b"u" * 255, b"::1"), TunnelWanted(Destination("::1", 443), user_id="u" * 255)),
        (
            request((1, 2, 3, 4), b"\xff\n"),
            TunnelWanted(Destination("1.2.3.4", 443), user_id="\N{REPLACEMENT CHARACTER}\n"),
        ),
    ],
)
def test_addresses_names_and_users(data: bytes, wanted: TunnelWanted) -> None:
    front = Socks4(OPEN)
    assert talk(front, [data]) == Talk(b"", (), wanted)
    assert front.granted() == b"\x00\x5a" + bytes(6)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"\x05\x01\x00", FailureKind.BAD_REQUEST),
        (request((1, 2, 3, 4), command=2), FailureKind.BAD_COMMAND),
        (request((1, 2, 3, 4), command=9), FailureKind.BAD_COMMAND),
        (request((1, 2, 3, 4), port=0), FailureKind.BAD_ADDRESS),
        (request((1, 2, 3, 4), b"u" * 256), FailureKind.BAD_REQUEST),
        (request(NAMED, b"", b"x" * 256), FailureKind.BAD_REQUEST),
        *((request(NAMED, b"", n), FailureKind.BAD_ADDRESS) for n in (b"", b"a b", b"a\n", b"\xff", b"a:1", b"u@a")),
    ],
)
def test_every_refusal_is_91(data: bytes, kind: FailureKind) -> None:
    front = Socks4(OPEN)
    failure = talk(front, [data]).outcome
    assert isinstance(failure, Failure)
    assert failure.kind is kind
    assert failure.text.isprintable()
    assert front.refused(failure) == REJECTED


@pytest.mark.parametrize("start", [request((1, 2, 3, 4))[:-1], request(NAMED)])
def test_a_text_without_an_end_is_refused_at_its_256th_byte(start: bytes) -> None:
    front = Socks4(OPEN)
    assert front.receive_data(start + b"u" * 255) is NEED_MORE
    assert isinstance(front.receive_data(b"u"), Failure)


def test_where_a_password_is_wanted_a_user_id_is_not_enough() -> None:
    front = Socks4(GUARDED)
    failure = talk(front, [request((1, 2, 3, 4), b"ilya")]).outcome
    assert isinstance(failure, Failure)
    assert failure.kind is FailureKind.CREDENTIALS
    assert "SOCKS 5 or HTTP" in failure.text
    assert front.refused(failure) == REJECTED


def test_a_request_is_begun_from_the_first_byte_to_the_last() -> None:
    front = Socks4(OPEN)
    assert not front.begun
    data = request(NAMED, b"i", b"example.com")
    assert front.receive_data(data[:-1]) is NEED_MORE
    assert front.begun
    assert isinstance(front.receive_data(data[-1:]), TunnelWanted)
    assert not front.begun
    assert not front.reusable


SAMPLES = [
    request((1, 2, 3, 4), b"ilya") + b"early",
    request(NAMED, b"ilya", b"example.com") + b"\0early",
    request(NAMED, b"", b"a b") + b"early",
    request(NAMED, b"u" * 300),
    request((1, 2, 3, 4), command=2),
]


@pytest.mark.parametrize("options", [OPEN, GUARDED], ids=["open", "guarded"])
@pytest.mark.parametrize("data", SAMPLES)
def test_every_split_gives_the_same(data: bytes, options: FrontOptions) -> None:
    whole = talk(Socks4(options), [data])
    assert whole.outcome is not NEED_MORE
    for chunks in splits(data):
        assert talk(Socks4(options), chunks) == whole


PIECES = st.sampled_from(
    [b"\x04\x01\x01\xbb", b"\0\0\0\1", b"\1\2\3\4", b"ilya\0", b"example.com\0", b"\0", b"u" * 200]
)


@given(st.lists(PIECES | st.binary(max_size=6), max_size=8), st.booleans(), st.data())
def test_any_bytes_in_any_splitting(pieces: list[bytes], wanted: bool, data: st.DataObject) -> None:
    whole, options = b"".join(pieces), FrontOptions(wanted)
    cuts = [0, *sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=5))), len(whole)]
    chunks = [whole[a:b] for a, b in zip(cuts, cuts[1:], strict=False)]
    got = talk(Socks4(options), chunks)
    assert got == talk(Socks4(options), [whole])
    assert got.sent == b""
    assert not (wanted and isinstance(got.outcome, TunnelWanted))


@given(st.binary(min_size=8 + 256 + 256), st.booleans())
def test_the_longest_request_has_an_end(data: bytes, wanted: bool) -> None:
    assert talk(Socks4(FrontOptions(wanted)), [b"\x04" + data[1:]]).outcome is not NEED_MORE
