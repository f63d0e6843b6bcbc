"""SOCKS 5, byte for byte: RFC 1928 and RFC 1929."""

from __future__ import annotations

import base64
import ipaddress
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pog.errors import WORDINGS, Failure, FailureKind
from pog.front.base import NEED_MORE, Credentials, FrontOptions, Reply, TunnelWanted
from pog.front.socks5 import Socks5
from pog.net.address import Destination
from tests.front.dialogue import Talk, splits, talk

OPEN, GUARDED = FrontOptions(), FrontOptions(credentials_wanted=True)
NO_AUTH = b"\x05\x01\x00"
BOTH = b"\x05\x02\x00\x02"
LOGIN = b"\x01\x02me\x03p w"
AUTHORIZATION = "Basic " + base64.b64encode(b"me:p w").decode()
NOWHERE = b"\x00\x01\x00\x00\x00\x00\x00\x00"


def request(address: bytes, port: int = 443, command: int = 1, address_type: int = 3) -> bytes:
    if address_type == 3:
        address = bytes((len(address),)) + address
    return bytes((5, command, 0, address_type)) + address + struct.pack("!H", port)


EXAMPLE = request(b"example.com")
WANTED = TunnelWanted(Destination("example.com", 443))


def test_a_name_is_passed_on_as_it_came() -> None:
    assert talk(Socks5(OPEN), [NO_AUTH + EXAMPLE]) == Talk(b"\x05\x00", (), WANTED)


@pytest.mark.parametrize(
    ("address_type", "address", "host"),
    [
        (1, bytes((127, 0, 0, 1)), "127.0.0.1"),
        (1, bytes((255, 255, 255, 255)), "255.255.255.255"),
        (4, ipaddress.IPv6Address("2001:db8::1").packed, "2001:db8::1"),
        (4, bytes(16), "::"),
        (3, b"a", "a"),
        (3, b"x" * 255, "x" * 255),
        (3, b"1.2.3.4", "1.2.3.4"),
        (3, b"::1", "::1"),
        (3, b"[::1]", "::1"),
        (3, "пример.example".encode(), "пример.example"),
    ],
)
def test_every_type_of_address(address_type: int, address: bytes, host: str) -> None:
    got = talk(Socks5(OPEN), [NO_AUTH + request(address, 65535, address_type=address_type)])
    assert got.outcome == TunnelWanted(Destination(host, 65535))


@pytest.mark.parametrize(
    ("options", "greeting", "method"),
    [
        (OPEN, b"\x05\x01\x00", 0),
        (OPEN, b"\x05\x02\x02\x00", 0),
        (OPEN, b"\x05\x03\x01\x02\x80", 2),
        (OPEN, b"\x05\xff" + bytes(range(255)), 0),
        (GUARDED, b"\x05\x02\x00\x02", 2),
        (GUARDED, b"\x05\x01\x02", 2),
    ],
)
def test_the_method_is_chosen(options: FrontOptions, greeting: bytes, method: int) -> None:
    assert Socks5(options).receive_data(greeting) == Reply(bytes((5, method)))


@pytest.mark.parametrize(
    ("options", "greeting", "kind"),
    [
        (OPEN, b"\x05\x00", FailureKind.BAD_REQUEST),
        (OPEN, b"\x05\x01\x01", FailureKind.BAD_REQUEST),
        (GUARDED, b"\x05\x00", FailureKind.CREDENTIALS),
        (GUARDED, b"\x05\x01\x00", FailureKind.CREDENTIALS),
    ],
)
def test_without_a_common_method_the_answer_is_ff(options: FrontOptions, greeting: bytes, kind: FailureKind) -> None:
    front = Socks5(options)
    failure = front.receive_data(greeting)
    assert isinstance(failure, Failure)
    assert failure.kind is kind
    assert front.refused(failure) == b"\x05\xff"


def test_user_and_password() -> None:
    front = Socks5(GUARDED)
    got = talk(front, [BOTH + LOGIN + EXAMPLE], accepts=lambda given: given == AUTHORIZATION)
    wanted = TunnelWanted(Destination("example.com", 443), AUTHORIZATION)
    assert got == Talk(b"\x05\x02\x01\x00", (AUTHORIZATION,), wanted)


def test_refused_credentials_end_it() -> None:
    got = talk(Socks5(GUARDED), [BOTH + LOGIN + EXAMPLE], accepts=lambda _: False)
    assert got == Talk(b"\x05\x02\x01\x01", (AUTHORIZATION,), Credentials(AUTHORIZATION))


@pytest.mark.parametrize(
    ("login", "pair"),
    [(b"\x01\x00\x00", b":"), (b"\x01\x01a\x00", b"a:"), (b"\x01\xff" + b"u" * 255 + b"\xff" + bytes(255), None)],
)
def test_credentials_of_every_length(login: bytes, pair: bytes | None) -> None:
    """RFC 1929 asks for 1 to 255 bytes each; programs send none where they have none."""
    pair = b"u" * 255 + b":" + bytes(255) if pair is None else pair
    got = talk(Socks5(GUARDED), [b"\x05\x01\x02" + login])
    assert got.credentials == ("Basic " + base64.b64encode(pair).decode(),)
    assert got.outcome is NEED_MORE


def test_a_login_of_another_version_is_refused_as_a_login() -> None:
    front = Socks5(GUARDED)
    got = talk(front, [BOTH + b"\x05" + LOGIN[1:]])
    assert isinstance(got.outcome, Failure)
    assert front.refused(got.outcome) == b"\x01\x01"


@pytest.mark.parametrize(
    ("asked", "kind", "reply"),
    [
        (request(b"example.com", command=2), FailureKind.BAD_COMMAND, 7),
        (request(bytes(4), command=3, address_type=1), FailureKind.BAD_COMMAND, 7),
        (request(b"example.com", command=0), FailureKind.BAD_COMMAND, 7),
        (b"\x05\x01\x00\x02", FailureKind.BAD_ADDRESS_TYPE, 8),
        (b"\x05\x01\x00\x00", FailureKind.BAD_ADDRESS_TYPE, 8),
        (b"\x04" + EXAMPLE[1:], FailureKind.BAD_REQUEST, 1),
        (request(b"example.com", 0), FailureKind.BAD_ADDRESS, 1),
        (request(bytes((1, 2, 3, 4)), 0, address_type=1), FailureKind.BAD_ADDRESS, 1),
        *(
            (request(name), FailureKind.BAD_ADDRESS, 1)
            for name in (b"", b"a b", b"a\r\nb", b"a\0", b"a:1", b"a/b", b"u@a", b"\xff\xfe", b"[a]", b"[::1", b"%00")
        ),
        *((request(name), FailureKind.BAD_ADDRESS, 1) for name in ("a\u2028b".encode(), b"a\xc2\x85", b"::1%a b")),
    ],
)
def test_refused_with_the_reply_that_says_why(asked: bytes, kind: FailureKind, reply: int) -> None:
    front = Socks5(OPEN)
    got = talk(front, [NO_AUTH + asked])
    assert isinstance(got.outcome, Failure)
    assert got.outcome.kind is kind
    assert front.refused(got.outcome) == bytes((5, reply)) + NOWHERE
    assert got.outcome.text.isprintable()
    assert not front.begun


def test_the_tunnel_is_open() -> None:
    front = Socks5(OPEN)
    talk(front, [NO_AUTH + EXAMPLE])
    assert front.granted() == b"\x05\x00" + NOWHERE


@pytest.mark.parametrize(
    ("kind", "reply"),
    [
        (FailureKind.DENIED, 2),
        (FailureKind.EXIT_UNAVAILABLE, 3),
        (FailureKind.DNS, 4),
        (FailureKind.UNREACHABLE, 4),
        (FailureKind.REFUSED, 5),
        (FailureKind.TIMEOUT, 6),
        (FailureKind.INTERNAL, 1),
    ],
)
def test_why_there_is_no_tunnel(kind: FailureKind, reply: int) -> None:
    front = Socks5(OPEN)
    talk(front, [NO_AUTH + EXAMPLE])
    assert front.refused(Failure(kind, "why")) == bytes((5, reply)) + NOWHERE


def test_every_kind_of_failure_has_a_reply_of_the_rfc() -> None:
    assert all(1 <= wording.socks5_reply <= 8 for wording in WORDINGS.values())


def test_a_request_is_begun_from_the_first_byte_to_the_last() -> None:
    front = Socks5(GUARDED)
    assert not front.begun
    front.receive_data(BOTH[:1])
    assert front.begun
    front.receive_data(BOTH[1:])
    assert front.begun
    front.receive_data(LOGIN)
    front.authenticated(True)
    assert front.begun
    assert isinstance(front.receive_data(EXAMPLE), TunnelWanted)
    assert not front.begun
    assert not front.reusable


SAMPLES = [
    NO_AUTH + EXAMPLE + b"\x16\x03early",
    BOTH + LOGIN + request(bytes(16), address_type=4) + b"early",
    BOTH + LOGIN + request(bytes(4), address_type=1),
    NO_AUTH + request(b"a b") + b"early",
    NO_AUTH + b"\x05\x01\x00\x09",
    BOTH + b"\x02",
    b"\x05\x00",
    b"\x04\x01",
]


@pytest.mark.parametrize("options", [OPEN, GUARDED], ids=["open", "guarded"])
@pytest.mark.parametrize("data", SAMPLES)
def test_every_split_gives_the_same(data: bytes, options: FrontOptions) -> None:
    whole = talk(Socks5(options), [data])
    assert whole.outcome is not NEED_MORE
    for chunks in splits(data):
        assert talk(Socks5(options), chunks) == whole


PIECES = st.sampled_from([NO_AUTH, BOTH, b"\x05\x01\x02", LOGIN, EXAMPLE, EXAMPLE[:4], b"\x05\x01\x00\x01", b"\x01pp"])


@given(st.lists(PIECES | st.binary(max_size=6), max_size=8), st.booleans(), st.booleans(), st.data())
def test_any_bytes_in_any_splitting(pieces: list[bytes], wanted: bool, accepted: bool, data: st.DataObject) -> None:
    whole, options = b"".join(pieces), FrontOptions(wanted)
    cuts = [0, *sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=5))), len(whole)]
    chunks = [whole[a:b] for a, b in zip(cuts, cuts[1:], strict=False)]
    front = Socks5(options)
    got = talk(front, chunks, lambda _: accepted)
    assert got == talk(Socks5(options), [whole], lambda _: accepted)
    if wanted and isinstance(got.outcome, TunnelWanted):
        assert accepted and got.credentials, "without credentials nobody gets so far"
    if isinstance(got.outcome, Failure):
        assert front.refused(got.outcome)[:1] in (b"\x05", b"\x01")


@given(st.binary(min_size=257 + 513 + 262), st.booleans())
def test_the_longest_handshake_has_an_end(data: bytes, wanted: bool) -> None:
    """A greeting has at most 257 bytes, a login 513, a request 262: after all of them nothing is collected any more."""
    assert talk(Socks5(FrontOptions(wanted)), [b"\x05" + data[1:]]).outcome is not NEED_MORE
