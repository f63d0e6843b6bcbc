"""The answer to a forwarded request, rewritten on its way down. [pure]

head, interim (1xx)    passes; the next head follows. A user of HTTP/1.0 knows none: dropped (RFC 9110 section 15.2)
head, 101              passes when it was asked for; from here on the tunnel is the user's (switched)
head, any other        passes; the content follows, as RFC 9112 section 6.3 tells its length
behind the content     nobody asked for it: it is dropped, and the tunnel is not used again
"""

from __future__ import annotations

from pog.front.bodies import Body, Chunk, Chunked, Counted, UntilEnd
from pog.front.heads import AnswerHead, Malformed, answer_buffer, read_answer
from pog.front.hop import Hop, of_answer


class Answer:
    """`minor` is the second number of the user's version, HTTP/1.x; `protocols` are those that it would like to change
    to. `keep_alive`: whether the user's connection may carry another request afterwards; an answer can forbid it."""

    __slots__ = (
        "_alive",
        "_body",
        "_head",
        "_method",
        "_minor",
        "_protocols",
        "_unasked",
        "_via",
        "begun",
        "keep_alive",
        "switched",
    )

    def __init__(self, method: str, minor: int, protocols: bytes, *, keep_alive: bool, via: bool) -> None:
        self._method = method
        self._minor = minor
        self._protocols = protocols
        self._via = via
        self.keep_alive = keep_alive
        self._head = answer_buffer()
        self._body: Body | None = None
        self._alive = self._unasked = False
        # Whether the head of the final answer has passed.
        self.begun = False
        self.switched = False

    @property
    def complete(self) -> bool:
        return self.switched or (self._body is not None and self._body.complete)

    @property
    def tunnel_alive(self) -> bool:
        """After `complete`: whether the origin keeps the tunnel open, and sent nothing that nobody asked for."""
        return self._alive and not self._unasked

    def receive_data(self, data: Chunk, *, request_complete: bool) -> Chunk:
        """What passes. Raises Malformed."""
        if self._body is not None:
            passing, behind = self._body.receive_data(data)
            if behind:
                self._unasked = True
            return passing
        heads, rest = b"", bytes(data)
        while (received := self._head.receive_data(rest)) is not None:
            head, rest = received
            heads += self._rewritten(read_answer(head), request_complete)
            if self.switched:
                return heads + rest
            if self._body is not None:
                return heads + self.receive_data(rest, request_complete=request_complete)
            if not rest:
                break
        return heads

    def receive_eof(self) -> None:
        """Raises Malformed when the answer was cut short."""
        if self._body is None:
            raise Malformed("the head is not complete")
        self._body.receive_eof()

    def _rewritten(self, head: AnswerHead, request_complete: bool) -> bytes:
        hop = of_answer(head)
        framing, closing = b"", False
        if head.status == 101:
            if not request_complete or not self._protocols or not hop.protocols:
                raise Malformed("a change of the protocol that was not asked for")
            self.begun = self.switched = True
        elif head.status < 200:
            if self._minor == 0:
                return b""
        else:
            framing = self._begin(head, hop, request_complete)
            closing = not self.keep_alive
        lines = [b"HTTP/1.1 %d %b\r\n" % (head.status, head.reason), *hop.lines, framing]
        if hop.protocols and head.status in (101, 426):
            lines.append(b"Upgrade: %b\r\nConnection: Upgrade\r\n" % hop.protocols)
        if closing:
            lines.append(b"Connection: close\r\n")
        if self._via:
            lines.append(b"Via: 1.%d pog\r\n" % head.minor)
        lines.append(b"\r\n")
        return b"".join(lines)

    def _begin(self, head: AnswerHead, hop: Hop, request_complete: bool) -> bytes:
        """The content: where it ends (RFC 9112 section 6.3), and the field that says so to the user."""
        self.begun = True
        self._alive = hop.keeps_alive(head.minor)
        framing = b"" if hop.length is None else b"Content-Length: %d\r\n" % hop.length
        if self._method == "HEAD" or head.status in (204, 304):
            self._body = Counted(0)
            # RFC 9110 section 8.6: a 204 has no Content-Length; otherwise it is that of another content.
            framing = b"" if head.status == 204 else framing
        elif hop.chunked:
            decoded = self._minor == 0
            self._body = Chunked(decoded=decoded)
            framing = b"" if decoded else b"Transfer-Encoding: chunked\r\n"
        elif hop.length is not None:
            self._body = Counted(hop.length)
        else:
            self._body = UntilEnd()
            self._alive = self.keep_alive = False
        if not self._alive and not request_complete:
            # The rest of the request will have nowhere to go.
            self.keep_alive = False
        return framing
