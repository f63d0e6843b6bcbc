"""HTTP/1 as a user's program speaks it to a proxy: CONNECT, plain http:// requests, pages of our own. [pure]

A head is collected until its empty line and read in one go (heads). The outcome depends on the bytes only, never on how
they were split: the request line is judged as soon as it is complete, the length before the header fields.

    CONNECT             a tunnel, which the connection is given to. A refusal closes it, 407 included, as RFC 9931
                        (Guidance for HTTP CONNECT) asks: what follows may be bytes of a tunnel, and is not to be read
                        as a request
    http://host/path    one exchange (forward), then the next request, in the order in which they came
    /path, *            a page, which closes the connection

Not h11: it refuses a CONNECT of HTTP/1.1 without Host (the Go original takes it, and small clients send it), and its
limit for the head depends on the splitting. A test compares the two.
"""

from __future__ import annotations

import functools
from http import HTTPStatus
from typing import TYPE_CHECKING

from pog.front.base import NEED_MORE, Outcome, PageRequest, TunnelWanted
from pog.front.forward import Forwarding, bad_request, is_absolute
from pog.front.heads import Malformed, RequestHead, read_request, request_buffer
from pog.net.address import parse_destination
from pog.wire.http_fields import basic_challenge

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pog.errors import Failure
    from pog.front.base import FrontOptions
    from pog.tunnel.request import Tunnel

# Error texts in header fields are cut to this many characters; the body carries all of it.
_MAX_FIELD_TEXT = 1000


class HttpFront:
    """One connection of a program that speaks HTTP/1."""

    __slots__ = ("_exchange", "_head", "_method", "_via")

    def __init__(self, options: FrontOptions) -> None:
        self._via = options.via
        self._head = request_buffer()
        self._method = ""
        # The one that was asked for last.
        self._exchange: Forwarding | None = None

    @property
    def name(self) -> str:
        """ "forward" for a plain http:// request, so that logs tell it from CONNECT."""
        return "http" if self._exchange is None else "forward"

    @property
    def begun(self) -> bool:
        return bool(self._head.received)

    @property
    def reusable(self) -> bool:
        return self._exchange is not None and self._exchange.user_reusable

    def receive_data(self, data: bytes) -> Outcome:
        if self._exchange is not None:
            data = self._exchange.behind + data
            self._exchange, self._method = None, ""
        if not self._head.received:
            # RFC 9112 section 2.2: empty lines before the request line are ignored.
            data = data.lstrip(b"\r\n")
        try:
            received = self._head.receive_data(data)
            if received is None:
                return NEED_MORE
            return self._asked(read_request(received[0]), received[1])
        except Malformed as malformed:
            return bad_request(malformed)

    def authenticated(self, accepted: bool) -> bytes:
        """Never asked for: credentials come with the request."""
        return b""

    def granted(self, tunnel: Tunnel | None = None) -> bytes:
        return established(tunnel) if tunnel is not None and tunnel.rule else ESTABLISHED

    def refused(self, failure: Failure) -> bytes:
        return error_answer(failure, head_only=self._method == "HEAD", close=not self.reusable)

    def _asked(self, head: RequestHead, behind: bytes) -> Outcome:
        """Raises Malformed."""
        self._method = head.method
        if head.method == "CONNECT":
            try:
                destination = parse_destination(head.target)
            except ValueError as error:
                raise Malformed(f"malformed destination: {error}") from None
            return TunnelWanted(destination, head.value(b"proxy-authorization"), behind)
        if is_absolute(head.target) and not _ends_here(head):
            self._exchange = exchange = Forwarding(head, behind, via=self._via)
            return TunnelWanted(exchange.destination, head.value(b"proxy-authorization"), exchange=exchange)
        if head.target.startswith("/") or head.target == "*" or _ends_here(head):
            headers = tuple((lower.decode(), value.decode("latin-1")) for lower, _, value in head.fields)
            return PageRequest(head.method, head.target, headers, f"1.{head.minor}")
        raise Malformed("malformed request target")


def _ends_here(head: RequestHead) -> bool:
    """RFC 9110 section 7.6.2: whether a proxy on the way is asked, and it is our turn to answer."""
    return head.method in ("OPTIONS", "TRACE") and head.value(b"max-forwards") == "0"


# RFC 9110 section 9.3.6: a successful answer to CONNECT has no Content-Length and no Transfer-Encoding.
ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"


def established(tunnel: Tunnel) -> bytes:
    """With the exit and why it was chosen, as RFC 9209 sections 2.1.2 and 2.1.5 let a proxy say."""
    return _established(tunnel.exit, tunnel.rule, tunnel.reason)


@functools.lru_cache(256)
def _established(exit: str, rule: str, reason: str) -> bytes:
    details = _string(field_text(f"{rule}: {reason}"))
    status = f"Proxy-Status: pog; next-hop={_string(exit)}; details={details}\r\n\r\n"
    return ESTABLISHED[:-2] + status.encode("ascii")


def error_answer(failure: Failure, *, head_only: bool = False, close: bool = True) -> bytes:
    """Says what is wrong in a header field of the original's name, as Proxy-Status (RFC 9209), and in the body."""
    text, line = failure.text, field_text(failure.text)
    chosen = f"; next-hop={_string(failure.exit)}" if failure.exit else ""
    details = field_text(f"{failure.rule}: {text}") if failure.rule else line
    headers = [
        ("X-Proxy-Over-GRPC-Error", line),
        ("Proxy-Status", f"pog; error={failure.wording.proxy_error}{chosen}; details={_string(details)}"),
    ]
    if failure.http_status == 407:
        headers.append(("Proxy-Authenticate", basic_challenge("CLIENT_AUTH_* list")))
    body = (text + "\n").encode("utf-8", "replace")
    return answer(failure.http_status, "text/plain; charset=utf-8", body, headers, head_only, close)


def answer(
    status: int,
    content_type: str,
    body: bytes,
    headers: list[tuple[str, str]] | None = None,
    head_only: bool = False,
    close: bool = True,
) -> bytes:
    """One whole answer, after which the connection closes or not; `head_only` leaves the body out (HEAD)."""
    fields = [*(headers or ()), ("Content-Length", str(len(body)))]
    return answer_head(status, content_type, fields, close=close) + (b"" if head_only else body)


def answer_head(status: int, content_type: str, headers: Iterable[tuple[str, str]], *, close: bool = True) -> bytes:
    """The head of an answer; `headers` say where its content ends, unless that is the end of the connection."""
    fields = [("Content-Type", content_type), ("X-Content-Type-Options", "nosniff"), *headers]
    if close:
        fields.append(("Connection", "close"))
    lines = [f"HTTP/1.1 {status} {_phrase(status)}", *(f"{name}: {value}" for name, value in fields), "", ""]
    return "\r\n".join(lines).encode("ascii")


def field_text(text: str) -> str:
    """The text as it may stand in a header field: one line of printable ASCII, of bounded length."""
    line = " ".join(text.split())
    return "".join(c if " " <= c <= "~" else "?" for c in line[:_MAX_FIELD_TEXT])


def _string(line: str) -> str:
    """A String of structured fields, RFC 9651 section 3.3.3."""
    escaped = line.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"
