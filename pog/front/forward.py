"""Plain HTTP: one request to an http:// address and its answer, rewritten on the way. [pure]

The request goes up in origin form, with Host from its target; the answer comes down. What concerns one connection only
is removed both ways (hop), contents pass piece by piece as they come (bodies). Nothing tells the origin of the proxy,
unless `via` is set.

What happens at each event of one exchange:

    user_data      the request is not complete: it goes up; complete: it is kept, for the front's next request
    tunnel_data    before the answer: its head is collected, rewritten and passed; then its content, as it comes
                   after the answer: nobody asked for it, so it is dropped, and the tunnel is not used again
    tunnel_eof     an answer that ends with the connection is complete; any other was cut short
                   after the answer: if the request is not complete, the rest of it is given up
    status 101     from here on both directions are the tunnel's own

Not h11: a request and its answer through it cost 84 µs, which is a third of what a whole new tunnel costs the client,
and a piece of 64 KiB of content 52 µs, as much as the whole way through a tunnel (measured in isolation on the machine
of docs/performance.md). Heads have to be read strictly besides, since h11 takes more than is safe (heads). Tests hold
the two against each other: what passes here, h11 reads in the same way.
"""

from __future__ import annotations

import functools
import re

from pog.errors import WORDINGS, Failure, FailureKind, Refused
from pog.front.answer import Answer
from pog.front.bodies import Body, Chunk, Chunked, Counted
from pog.front.heads import Malformed, RequestHead
from pog.front.hop import Hop, of_request
from pog.net.address import Destination, parse_destination

# RFC 9112 section 3.2.2, without a fragment.
_ABSOLUTE = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)([^#]*)")
_PORT = re.compile(r":[0-9]+\Z")
# RFC 9110 section 9.2.2, and the reading method of WebDAV (RFC 4918 section 9.1).
_IDEMPOTENT = frozenset(("GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE", "PROPFIND"))
# A request is kept for a second try as long as it is not longer than this.
_MAX_KEPT = 64 * 1024


@functools.lru_cache(256)
def _parse_authority(authority: str) -> Destination:
    """Raises Malformed."""
    if "@" in authority:
        raise Malformed("user information in the address: send it as Authorization (RFC 9110 section 4.2.4)")
    host_port = authority.removesuffix(":")
    try:
        return parse_destination(host_port if _PORT.search(host_port) else f"{host_port}:80")
    except ValueError as error:
        raise Malformed(f"malformed destination: {error}") from None


def is_absolute(target: str) -> bool:
    """Whether a request target has absolute form, with whatever scheme."""
    return _ABSOLUTE.match(target) is not None


def split_target(method: str, target: str) -> tuple[Destination, str, str]:
    """Where an absolute form leads, what Host says there, and the target for the origin. Raises Malformed."""
    parts = _ABSOLUTE.fullmatch(target)
    if parts is None:
        raise Malformed("malformed request target")
    scheme, authority, path = parts.groups()
    if scheme.lower() in ("https", "wss"):
        raise Malformed(
            f"{scheme.lower()}:// is not forwarded: use CONNECT {authority}{'' if ':' in authority else ':443'}"
        )
    # aiohttp writes ws:// (RFC 6455 section 3: it is asked for over HTTP, at the same port).
    if scheme.lower() not in ("http", "ws"):
        raise Malformed(f"{scheme}:// is not forwarded: use http://, or CONNECT", 501)
    if not path.startswith("/"):
        # RFC 9112 section 3.2.4: a server is asked about itself in asterisk form.
        path = "*" if method == "OPTIONS" and not path else "/" + path
    return _parse_authority(authority), authority, path


def _request_head(method: str, target: str, authority: str, hop: Hop, minor: int, via: bool) -> bytes:
    options: list[bytes] = []
    lines = [f"{method} {target} HTTP/1.1\r\nHost: {authority}\r\n".encode(), *hop.lines]
    if hop.chunked:
        lines.append(b"Transfer-Encoding: chunked\r\n")
    elif hop.length is not None:
        lines.append(b"Content-Length: %d\r\n" % hop.length)
    if hop.trailers:
        options.append(b"TE")
        lines.append(b"TE: trailers\r\n")
    if hop.protocols:
        options.append(b"Upgrade")
        lines.append(b"Upgrade: %b\r\n" % hop.protocols)
    if options:
        lines.append(b"Connection: %b\r\n" % b", ".join(options))
    if via:
        lines.append(b"Via: 1.%d pog\r\n" % minor)
    lines.append(b"\r\n")
    return b"".join(lines)


class Forwarding:
    """An Exchange (base) over the request with this head, in absolute form; `behind` has arrived behind the head.

    Raises Malformed for a request that is not passed on; of its content, what has arrived is judged before any byte
    goes up. Behind the request, `behind` is what belongs to the next one.
    """

    __slots__ = ("_answer", "_body", "_given_up", "_idempotent", "_sent", "behind", "destination")

    def __init__(self, head: RequestHead, behind: bytes, *, via: bool) -> None:
        self.destination, authority, target = split_target(head.method, head.target)
        hop = of_request(head)
        # RFC 9112 section 9.3: a proxy keeps no connection open with a client of HTTP/1.0.
        keep_alive = head.minor > 0 and b"close" not in hop.options
        self._idempotent = head.method in _IDEMPOTENT
        self._answer = Answer(head.method, head.minor, hop.protocols, keep_alive=keep_alive, via=via)
        self._body: Body = Chunked() if hop.chunked else Counted(hop.length or 0)
        content, self.behind = self._body.receive_data(behind)
        # What has gone up so far, while it may have to go up again.
        self._sent: bytes | None = _request_head(head.method, target, authority, hop, head.minor, via) + content
        self._given_up = False

    def start(self) -> bytes:
        sent = self._sent
        assert sent is not None, "the first time, or may_repeat says so"
        self._keep(sent)
        return sent

    def user_data(self, data: bytes) -> bytes:
        if self._answer.switched:
            data, self.behind = self.behind + data, b""
            return data
        if self._body.complete:
            self.behind += data
            return b""
        try:
            passed, self.behind = self._body.receive_data(data)
        except Malformed as malformed:
            raise Refused(bad_request(malformed)) from None
        passing = bytes(passed)
        if self._sent is not None:
            self._keep(self._sent + passing)
        return passing

    def tunnel_data(self, data: Chunk) -> Chunk:
        if self._answer.switched:
            return data
        self._sent = None
        try:
            return self._answer.receive_data(data, request_complete=self._body.complete)
        except Malformed as malformed:
            raise self._refused(FailureKind.BAD_ANSWER, str(malformed)) from None

    def tunnel_eof(self) -> bytes:
        try:
            self._answer.receive_eof()
        except Malformed as malformed:
            if self._answer.begun:
                raise self._refused(FailureKind.BAD_ANSWER, str(malformed)) from None
            raise self._refused(FailureKind.NO_ANSWER) from None
        self._given_up = not self._body.complete
        return b""

    @property
    def request_complete(self) -> bool:
        return self._body.complete

    @property
    def waiting(self) -> int:
        return len(self.behind)

    @property
    def answer_begun(self) -> bool:
        return self._answer.begun

    @property
    def complete(self) -> bool:
        # An origin that closes behind its answer reads no more.
        request_over = self._body.complete or self._given_up or not self._answer.tunnel_alive
        return self._answer.complete and request_over

    @property
    def may_repeat(self) -> bool:
        return self._sent is not None and self._idempotent

    @property
    def tunnel_reusable(self) -> bool:
        return self._body.complete and self._answer.tunnel_alive

    @property
    def passes_through(self) -> bool:
        return self._answer.switched

    @property
    def user_reusable(self) -> bool:
        """After `complete`: whether the user's connection may carry another request."""
        return self._answer.keep_alive and self._body.complete

    def _keep(self, sent: bytes) -> None:
        self._sent = sent if self._idempotent and len(sent) <= _MAX_KEPT else None

    def _refused(self, kind: FailureKind, detail: str = "") -> Refused:
        text = f"{self.destination} {WORDINGS[kind].summary}"
        return Refused(Failure(kind, f"{text}: {detail}" if detail else text))


def bad_request(malformed: Malformed) -> Failure:
    """How a request that is not passed on is refused."""
    kind = FailureKind.BAD_PROTOCOL if malformed.status == 505 else FailureKind.BAD_REQUEST
    return Failure(kind, str(malformed), malformed.status)
