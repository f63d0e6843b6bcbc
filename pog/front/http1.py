"""The head of one HTTP/1 request from the user's program, and the answers to it.

Strategy: collect bytes until the empty line, then read the head in one go. The result depends on the bytes only, never
on how they were split: the request line is judged as soon as it is complete, the length before the header fields.

Not h11: it refuses a CONNECT of HTTP/1.1 without Host (the Go original takes it, and small clients send it), and its
limit for the head depends on the splitting. The grammar is h11's; a test compares the two.

A connection carries one request. RFC 9931 (Guidance for HTTP CONNECT) has a proxy close the connection when it rejects
a CONNECT of HTTP/1.1, 407 included: what follows may be tunnel bytes that must not be read as a request.
"""

import re
from http import HTTPStatus

from pog.errors import Failure, FailureKind
from pog.front.base import NEED_MORE, Outcome, PageRequest, TunnelWanted
from pog.net.address import parse_destination
from pog.wire.http_fields import basic_challenge

# As much as the Go original's neighbours take: nginx 32 KiB, Apache 8 KiB a line, Go 1 MiB. Cookies never come here,
# the largest real heads carry Kerberos or NTLM tokens of up to 64 KiB (MaxTokenSize is 48,000).
MAX_HEAD_BYTES = 64 * 1024
# Error texts in header fields are cut to this many characters; the body carries all of it.
_MAX_FIELD_TEXT = 1000

# RFC 9110 section 5.6.2 (token), RFC 9112 sections 3 and 5.
_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_REQUEST_LINE = re.compile(rb"(%b) ([\x21-\x7e]+) HTTP/([0-9])\.([0-9])" % _TOKEN)
_FIELD_LINE = re.compile(rb"(%b):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*)" % _TOKEN)
_END_OF_HEAD = re.compile(rb"\n\r?\n")
_NOT_A_METHOD = re.compile(rb"[^!#$%&'*+\-.^_`|~0-9A-Za-z]")
_ABSOLUTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


class HttpFront:
    """Collects one head: bytes in, an outcome out. After anything but NEED_MORE it is used up."""

    __slots__ = ("_buffer", "_line_seen", "_searched")

    name = "http"
    reusable = False

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._searched = 0
        self._line_seen = False

    @property
    def begun(self) -> bool:
        return bool(self._buffer)

    def receive_data(self, data: bytes) -> Outcome:
        buffer = self._buffer
        buffer += data
        if not self._line_seen:
            # RFC 9112 section 2.2: empty lines before the request line are ignored.
            if buffer.startswith((b"\r", b"\n")):
                del buffer[: len(buffer) - len(buffer.lstrip(b"\r\n"))]
            failure = self._judge_request_line()
            if failure is not None:
                return failure
        end = _END_OF_HEAD.search(buffer, self._searched, MAX_HEAD_BYTES)
        if end is None:
            if len(buffer) >= MAX_HEAD_BYTES:
                return bad_request(f"the request head is longer than {MAX_HEAD_BYTES // 1024} KiB", 431)
            self._searched = max(0, len(buffer) - 2)
            return NEED_MORE
        return _read_head(bytes(buffer[: end.start()]), bytes(buffer[end.end() :]))

    def authenticated(self, accepted: bool) -> bytes:
        """Never asked for: credentials come with the request."""
        return b""

    def granted(self) -> bytes:
        return ESTABLISHED

    def refused(self, failure: Failure) -> bytes:
        return error_answer(failure)

    def _judge_request_line(self) -> Failure | None:
        """Answers at once what will never be a request, such as a TLS hello on this port, which has no line end."""
        end = self._buffer.find(b"\n", 0, MAX_HEAD_BYTES)
        if end >= 0:
            self._line_seen = True
            if _REQUEST_LINE.fullmatch(_without_cr(bytes(self._buffer[:end]))) is None:
                return bad_request("this is not an HTTP/1 request")
        elif _NOT_A_METHOD.match(self._buffer) is not None:
            return bad_request("this is not an HTTP/1 request")
        return None


def _without_cr(line: bytes) -> bytes:
    return line[:-1] if line.endswith(b"\r") else line


def _read_head(head: bytes, early: bytes) -> Outcome:
    lines = head.split(b"\n")
    request_line = _REQUEST_LINE.fullmatch(_without_cr(lines[0]))
    assert request_line is not None, "judged before"
    method, target, major, minor = (part.decode("ascii") for part in request_line.groups())
    if major != "1":
        return Failure(FailureKind.BAD_PROTOCOL, f"this port speaks HTTP/1.1, not HTTP/{major}.{minor}")
    headers: list[tuple[str, str]] = []
    for line in lines[1:]:
        field = _FIELD_LINE.fullmatch(_without_cr(line))
        if field is None:
            return bad_request("malformed header field")
        name, value = field.groups()
        headers.append((name.decode("ascii").lower(), value.rstrip(b" \t").decode("latin-1")))
    if method == "CONNECT":
        return _connect_request(target, headers, early)
    if target.startswith("/") or target == "*":
        return PageRequest(method, target, tuple(headers), f"{major}.{minor}")
    if _ABSOLUTE.match(target) is not None:
        # Here plain http:// is to be forwarded one day; the Go original answers 501 as well.
        return bad_request("only CONNECT is implemented: use https://, or curl --proxytunnel for http://", 501)
    return bad_request("malformed request target")


def _connect_request(target: str, headers: list[tuple[str, str]], early: bytes) -> Outcome:
    try:
        destination = parse_destination(target)
    except ValueError as error:
        return bad_request(f"malformed destination: {error}")
    # The first of several counts, as in the Go original.
    authorization = next((value for name, value in headers if name == "proxy-authorization"), None)
    return TunnelWanted(destination, authorization, early)


def bad_request(text: str, status: int = 0) -> Failure:
    """A request that cannot be served; `status` is HTTP's where it is not 400."""
    return Failure(FailureKind.BAD_REQUEST, text, status)


# RFC 9110 section 9.3.6: a successful answer to CONNECT has no Content-Length and no Transfer-Encoding.
ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"


def error_answer(failure: Failure, *, head_only: bool = False) -> bytes:
    """Says what is wrong in a header field of the original's name, as Proxy-Status (RFC 9209), and in the body."""
    text, line = failure.text, field_text(failure.text)
    headers = [
        ("X-Proxy-Over-GRPC-Error", line),
        ("Proxy-Status", f'pog; error={failure.wording.proxy_error}; details="{_escaped(line)}"'),
    ]
    if failure.http_status == 407:
        headers.append(("Proxy-Authenticate", basic_challenge("CLIENT_AUTH_* list")))
    body = (text + "\n").encode("utf-8", "replace")
    return answer(failure.http_status, "text/plain; charset=utf-8", body, headers, head_only)


def answer(
    status: int,
    content_type: str,
    body: bytes,
    headers: list[tuple[str, str]] | None = None,
    head_only: bool = False,
) -> bytes:
    """One whole answer that closes the connection; `head_only` leaves the body out (HEAD)."""
    fields = [
        ("Content-Type", content_type),
        ("X-Content-Type-Options", "nosniff"),
        *(headers or ()),
        ("Content-Length", str(len(body))),
        ("Connection", "close"),
    ]
    lines = [f"HTTP/1.1 {status} {_phrase(status)}", *(f"{name}: {value}" for name, value in fields), "", ""]
    return "\r\n".join(lines).encode("ascii") + (b"" if head_only else body)


def field_text(text: str) -> str:
    """The text as it may stand in a header field: one line of printable ASCII, of bounded length."""
    line = " ".join(text.split())
    return "".join(c if " " <= c <= "~" else "?" for c in line[:_MAX_FIELD_TEXT])


def _escaped(line: str) -> str:
    """The inside of a String of structured fields, RFC 9651 section 3.3.3."""
    return line.replace("\\", "\\\\").replace('"', '\\"')


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"
