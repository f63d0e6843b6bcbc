"""Whether what a user sent first may be sent again through another exit, if the first broke without an answer. [pure]

Only what cannot do anything twice may be repeated:

    CLIENT_HELLO   a TLS ClientHello, or its beginning, and nothing behind it. One that offers early data (RFC 8446
                   4.2.10) may be followed by a request that is acted upon before the handshake: not repeated
    GET            one HTTP/1 request with the method GET or HEAD and no content, or its beginning: safe methods, RFC
                   9110 9.2.1. It may be a long poll, so silence is no reason to repeat it
    NO             anything else: protocols where the destination speaks first, POST, a second flight
"""

from __future__ import annotations

import enum
import re

# A ClientHello of today has 0.2 to 2 KiB; with post-quantum key shares and padding up to 4.
MAX_BYTES = 16 * 1024

_RECORD_HEADER = 5
HANDSHAKE, _CLIENT_HELLO, _EARLY_DATA = 22, 1, 42
# What begins otherwise is never repeatable.
FIRST_BYTES = frozenset((HANDSHAKE, *b"GH"))
_SAFE_START = re.compile(rb"(?:GET|HEAD) [\x21-\x7e]+ HTTP/1\.[01]\r?\n")
_CONTENT = re.compile(rb"\n(?:content-length|transfer-encoding|upgrade)[ \t]*:", re.IGNORECASE)
_END_OF_HEAD = re.compile(rb"\n\r?\n")


class Repeatable(enum.Enum):
    """What the first bytes are, as far as it matters for sending them again."""

    NO = "no"
    CLIENT_HELLO = "TLS ClientHello"
    GET = "GET or HEAD"


def repeatable(data: bytes) -> Repeatable:
    """`data` is everything that the user has sent so far."""
    if not data or len(data) > MAX_BYTES:
        return Repeatable.NO
    if data[0] == HANDSHAKE:
        return Repeatable.CLIENT_HELLO if _is_client_hello(data) else Repeatable.NO
    return Repeatable.GET if _is_get(data) else Repeatable.NO


def _is_get(data: bytes) -> bool:
    end = _END_OF_HEAD.search(data)
    if end is not None and end.end() != len(data):
        return False  # content, or another request
    head = data[: end.start() + 1] if end is not None else data
    if _CONTENT.search(head):
        return False
    if b"\n" in head:
        return _SAFE_START.match(head) is not None
    # Not even a request line yet: nobody can have acted on it.
    return any(head.startswith(method[: len(head)]) for method in (b"GET ", b"HEAD "))


def _is_client_hello(data: bytes) -> bool:
    """Whether the records hold one ClientHello without early data, or its beginning, and nothing else."""
    message, pos = b"", 0
    while pos < len(data):
        header = data[pos : pos + _RECORD_HEADER]
        if header[0] != HANDSHAKE or header[1:2] not in (b"", b"\x03"):
            return False
        if len(header) < _RECORD_HEADER:
            break
        length = int.from_bytes(header[3:5], "big")
        message += data[pos + _RECORD_HEADER : pos + _RECORD_HEADER + length]
        pos += _RECORD_HEADER + length
        if length == 0:
            return False
    if not message:
        return True
    if message[0] != _CLIENT_HELLO:
        return False
    if len(message) < 4:
        return True
    length = int.from_bytes(message[1:4], "big")
    if len(message) > 4 + length:
        return False
    return not _offers_early_data(message[4 : 4 + length], complete=len(message) == 4 + length)


def _offers_early_data(hello: bytes, *, complete: bool) -> bool:
    """Looks for the extension in a ClientHello's body, RFC 8446 4.1.2; what is malformed counts as if it had it."""
    pos = 2 + 32  # legacy_version, random
    for width in (1, 2, 1):  # session id, cipher suites, compression methods
        if pos + width > len(hello):
            return complete
        pos += width + int.from_bytes(hello[pos : pos + width], "big")
    pos += 2  # the length of the extensions; old clients have none
    while pos + 4 <= len(hello):
        kind, length = int.from_bytes(hello[pos : pos + 2], "big"), int.from_bytes(hello[pos + 2 : pos + 4], "big")
        if kind == _EARLY_DATA:
            return True
        pos += 4 + length
    return complete and pos > len(hello) and pos != len(hello) + 2
