"""Which protocol a user's program speaks, by the first bytes that it sends. [pure]

Strategy: a protocol has a signature, the bytes that may stand at its first places. The first row whose signature the
bytes have is the answer; while a row above it may still turn out to match, more bytes are needed. A new front is one
line in FRONTS. A program that came to the wrong port is told so: its protocol is a row of STRANGERS.
"""

from __future__ import annotations

import string
from typing import TYPE_CHECKING

from pog.errors import Failure, FailureKind
from pog.front import socks4, socks5
from pog.front.base import NEED_MORE
from pog.front.http1 import HttpFront, error_answer
from pog.front.socks4 import Socks4
from pog.front.socks5 import Socks5

if TYPE_CHECKING:
    from collections.abc import Callable

    from pog.front.base import Front, FrontOptions, NeedMore, Outcome
    from pog.tunnel.request import Tunnel

    MakeFront = Callable[[FrontOptions], Front]

# For each place the bytes that may stand there; none: any byte.
Signature = tuple[bytes, ...]


def _begins(*parts: bytes | None) -> Signature:
    """Literal bytes, and None for a place where any byte may stand."""
    return tuple(place for part in parts for place in ([b""] if part is None else [bytes((byte,)) for byte in part]))


# RFC 9110 section 5.6.2: a method is a token. RFC 9112 section 2.2: empty lines may come before it.
_METHOD: Signature = ((string.ascii_letters + string.digits + "!#$%&'*+-.^_`|~\r\n").encode(),)

_DIGIT: Signature = (string.digits.encode(),)

FRONTS: tuple[tuple[Signature, MakeFront], ...] = (
    (_begins(bytes((socks5.VERSION,))), Socks5),
    (_begins(bytes((socks4.VERSION,))), Socks4),
    (_METHOD, HttpFront),
)

_THROUGH = "this port is a proxy: the program has to ask it for a tunnel, by CONNECT or SOCKS"
_NO_HEADER = "this port takes no PROXY header: turn it off in the load balancer"

# What it looks like, and what to do about it. Some of them begin as a request of HTTP could.
STRANGERS: tuple[tuple[Signature, str, str], ...] = (
    (
        _begins(b"\x16\x03"),
        "a TLS hello",
        "this port is not TLS; its address as a proxy begins with http://, not https://",
    ),
    (
        _begins(b"PRI * HTTP/2"),
        "HTTP/2",
        "this port speaks HTTP/1.1 and SOCKS; if a pog client sent it, its SERVER_ADDR is the address of a client",
    ),
    (_begins(b"SSH-"), "SSH", _THROUGH),
    (_begins(b"PROXY "), "the PROXY protocol", _NO_HEADER),
    (_begins(b"\r\n\r\n\0\r\nQUIT\n"), "the PROXY protocol", _NO_HEADER),
    (_begins(b"\0\0", None, None, b"\x04\xd2\x16"), "PostgreSQL", _THROUGH),
    (_begins(b"\0\0", None, None, b"\0\x03\0"), "PostgreSQL", _THROUGH),
    (_begins(b"*") + _DIGIT + _begins(b"\r\n$"), "Redis", _THROUGH),
    (_begins(b"\x10", None, b"\0\x04MQTT"), "MQTT", _THROUGH),
    (_begins(b"AMQP\0"), "AMQP", _THROUGH),
    (_begins(b"\x03\0\0"), "Remote Desktop (RDP)", _THROUGH),
    (_begins(b"\x13BitTorrent"), "BitTorrent", _THROUGH),
)


def sniff(first: bytes) -> NeedMore | MakeFront:
    """How to make the front for a connection that begins with these bytes; all of them are to be given to it.

    Never more than LONGEST_SIGNATURE bytes are needed.
    """
    if not first:
        return NEED_MORE
    sure = _SURE[first[0]]
    if sure is not None:
        return sure
    for signature, make in _ROWS[first[0]]:
        if all(not allowed or byte in allowed for byte, allowed in zip(first, signature, strict=False)):
            return make if len(first) >= len(signature) else NEED_MORE
    return _unknown(first[0])


class Stranger:
    """A connection of a program that speaks something else. It is answered in HTTP: that is text, which most programs
    show, and TLS libraries say of it what they say of every port without TLS."""

    __slots__ = ("_failure",)

    name = "unknown"
    begun = False
    reusable = False

    def __init__(self, text: str) -> None:
        self._failure = Failure(FailureKind.BAD_PROTOCOL, text, 400)

    def receive_data(self, data: bytes) -> Outcome:
        return self._failure

    def authenticated(self, accepted: bool) -> bytes:
        return b""

    def granted(self, tunnel: Tunnel | None = None) -> bytes:
        return b""

    def refused(self, failure: Failure) -> bytes:
        return error_answer(failure)


def _stranger(what: str, advice: str) -> MakeFront:
    return lambda _: Stranger(f"this looks like {what}: {advice}")


def _unknown(byte: int) -> MakeFront:
    return lambda _: Stranger(f"neither HTTP nor SOCKS begins with the byte {byte:#04x}")


_ALL = (*((signature, _stranger(what, advice)) for signature, what, advice in STRANGERS), *FRONTS)
# By the first byte: most bytes leave one row or none.
_ROWS = [
    [(signature, make) for signature, make in _ALL if not signature[0] or first in signature[0]] for first in range(256)
]
# Where the first byte says it all.
_SURE = [rows[0][1] if rows and len(rows[0][0]) == 1 else None for rows in _ROWS]
LONGEST_SIGNATURE = max(len(signature) for signature, _ in _ALL)
