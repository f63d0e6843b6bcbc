"""The heads of HTTP/1 messages, read strictly: what two parsers could understand differently is refused. [pure]

Strategy: collect bytes until the empty line, then read the head in one go; the result depends on the bytes only, never
on how they were split. A head is written again from what was read, so nothing of its form (line ends, white space) is
passed on. A program and a server that disagree about where a message ends can be made to take one message for two
(request smuggling, RFC 9112 section 11.2); therefore

- a field line has no white space before its colon, is not continued on the next line (obs-fold), and holds no NUL, no
  bare CR and no other control character (RFC 9110 section 5.5, RFC 9112 sections 5.1 and 5.2);
- a length is 1 to 19 digits; several that say the same are one; it never stands beside a Transfer-Encoding
  (RFC 9112 section 6.3);
- Transfer-Encoding is exactly "chunked", and not in a message of HTTP/1.0 (RFC 9112 section 6.1).

A bare LF ends a line as well, which RFC 9112 section 2.2 allows: small servers and hand-written requests have it, and
what goes on has CRLF.
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

# As much as the Go original's neighbours take: nginx 32 KiB, Apache 8 KiB a line, Go 1 MiB. The largest real heads
# carry Kerberos or NTLM tokens of up to 64 KiB (MaxTokenSize is 48,000), or cookies.
MAX_HEAD_BYTES = 64 * 1024
# The largest length that a signed integer of 64 bits can hold: larger ones are negative to some programs.
_MAX_LENGTH = 2**63 - 1

_END_OF_HEAD = re.compile(rb"\n\r?\n")
# RFC 9110 sections 5.5 and 5.6.2: what names hold, and what lines of fields hold besides.
_TCHAR = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_LINES = b"\t\n" + bytes(range(0x20, 0x7F)) + bytes(range(0x80, 0x100))
# Names of this length and less are remembered: a stranger's long ones would fill the memory.
_MAX_REMEMBERED_NAME = 64
# RFC 9112 sections 3 and 4.
_REQUEST_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+) ([\x21-\x7e]+) HTTP/([0-9])\.([0-9])")
_METHOD = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]")
_STATUS_LINE = re.compile(rb"HTTP/1\.([0-9]) ([1-9][0-9][0-9])(?: ([\t\x20-\x7e\x80-\xff]*))?")
_ANSWER_START = b"HTTP/1."
_NOT_A_REQUEST = "this is not an HTTP/1 request"
_LENGTH = re.compile(rb"[0-9]{1,19}")

# The name in lower case, the name as it was sent, the value.
Field = tuple[bytes, bytes, bytes]


class Malformed(ValueError):
    """A message that is not passed on; the text says what is wrong. `status` is what a user is answered whose request
    it was."""

    def __init__(self, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.status = status


class RequestHead(NamedTuple):
    """`minor` is the second number of the version, HTTP/1.x."""

    method: str
    target: str
    minor: int
    fields: list[Field]

    def value(self, name: bytes) -> str | None:
        """The first value of a field, by its name in lower case: the one that counts, as in the Go original."""
        return next((value.decode("latin-1") for lower, _, value in self.fields if lower == name), None)


class AnswerHead(NamedTuple):
    """The head of a response, interim ones (1xx) included."""

    status: int
    reason: bytes
    minor: int
    fields: list[Field]


class HeadBuffer:
    """Collects one head. `check` raises Malformed for a beginning that will never be a head, so that nobody waits for
    the end of it."""

    __slots__ = ("_check", "_searched", "received")

    def __init__(self, check: Callable[[bytes], None]) -> None:
        self._check = check
        self._searched = 0
        # What has arrived of a head that is not complete.
        self.received = b""

    def receive_data(self, data: bytes) -> tuple[bytes, bytes] | None:
        """The head, up to and with the end of its last line, and what came behind it; None while it is not complete.

        After that it can collect the next one. Raises Malformed, also when the head is longer than MAX_HEAD_BYTES.
        """
        buffer = self.received + data if self.received else data
        end = _END_OF_HEAD.search(buffer, self._searched, MAX_HEAD_BYTES)
        if end is not None:
            self.received, self._searched = b"", 0
            return buffer[: end.start() + 1], buffer[end.end() :]
        self._check(buffer)
        if len(buffer) >= MAX_HEAD_BYTES:
            raise Malformed(f"the head is longer than {MAX_HEAD_BYTES // 1024} KiB", 431)
        self.received, self._searched = buffer, max(0, len(buffer) - 2)
        return None


def request_buffer() -> HeadBuffer:
    """For a request. What will never be one, such as a TLS hello, has no end of a line."""
    return HeadBuffer(_check_request)


def answer_buffer() -> HeadBuffer:
    """For an answer. What will never be one, such as the greeting of another protocol, has no end of a head."""
    return HeadBuffer(_check_answer)


def _check_request(received: bytes) -> None:
    line, end, _ = received.partition(b"\n")
    well = _REQUEST_LINE.fullmatch(line.removesuffix(b"\r")) if end else _METHOD.match(received)
    if received and well is None:
        raise Malformed(_NOT_A_REQUEST)


def _check_answer(received: bytes) -> None:
    if received[: len(_ANSWER_START)] != _ANSWER_START[: len(received)]:
        raise Malformed("not an answer of HTTP/1")


def read_request(head: bytes) -> RequestHead:
    """Raises Malformed."""
    line, others = _lines(head)
    parts = _REQUEST_LINE.fullmatch(line)
    if parts is None:
        raise Malformed(_NOT_A_REQUEST)
    method, target, major, minor = parts.groups()
    if major != b"1":
        version = f"{major.decode()}.{minor.decode()}"
        raise Malformed(f"this port speaks HTTP/1.1, not HTTP/{version}", 505)
    return RequestHead(method.decode(), target.decode(), int(minor), _read_fields(others))


def read_answer(head: bytes) -> AnswerHead:
    """Raises Malformed."""
    line, others = _lines(head)
    parts = _STATUS_LINE.fullmatch(line)
    if parts is None:
        raise Malformed("not an answer of HTTP/1")
    minor, status, reason = parts.groups()
    return AnswerHead(int(status), reason or b"", int(minor), _read_fields(others))


def _lines(head: bytes) -> tuple[bytes, bytes]:
    """The first line, and the others, which all end with LF."""
    first, _, others = head.replace(b"\r\n", b"\n").partition(b"\n")
    return first, others


def _read_fields(block: bytes) -> list[Field]:
    """The fields in lines that end with LF. Raises Malformed."""
    if block.translate(None, _LINES):
        raise Malformed("a control character in a header field")
    fields = []
    lines = block.split(b"\n")
    del lines[-1]
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon:
            raise Malformed("malformed header field")
        lower = _remembered(name) if len(name) <= _MAX_REMEMBERED_NAME else _lower(name)
        fields.append((lower, name, value.strip(b" \t")))
    return fields


def _lower(name: bytes) -> bytes:
    if not name or name.translate(None, _TCHAR):
        raise Malformed("malformed header field")
    return name.lower()


_remembered = functools.lru_cache(1024)(_lower)


def read_trailers(block: bytes) -> list[Field]:
    """The fields of a trailer section, every line of which ends with CRLF and nothing else. Raises Malformed."""
    if b"\n" in block.replace(b"\r\n", b""):
        raise Malformed("a bare LF in the trailer section")
    return _read_fields(block.replace(b"\r\n", b"\n"))


def content_length(values: list[bytes]) -> int | None:
    """What the Content-Length fields of a message say together; None when there are none. Raises Malformed.

    RFC 9112 section 6.3: a list of equal values counts as one.
    """
    if not values:
        return None
    lengths = {value.strip(b" \t") for value in b",".join(values).split(b",")}
    length = lengths.pop()
    if lengths or _LENGTH.fullmatch(length) is None or int(length) > _MAX_LENGTH:
        raise Malformed("malformed Content-Length")
    return int(length)
