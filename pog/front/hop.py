"""What concerns one connection only is parted from what passes on, in requests and in answers. [pure]

RFC 9110 section 7.6.1: a proxy removes Connection, the fields that it names, and the known fields of one connection.
The framing is read here as well, and written anew: a field that a sender names in Connection to have it removed, such
as Content-Length, changes nothing about where the message ends.
"""

from __future__ import annotations

from dataclasses import dataclass

from pog.front.heads import AnswerHead, Field, Malformed, RequestHead, content_length

_ONE_CONNECTION = (
    b"connection content-length keep-alive proxy-authenticate proxy-authentication-info proxy-authorization "
    b"proxy-connection te transfer-encoding upgrade"
).split()
# Host is written anew from the target, RFC 9112 section 3.2.2.
_OF_REQUEST = frozenset((*_ONE_CONNECTION, b"host"))
_OF_ANSWER = frozenset(_ONE_CONNECTION)


@dataclass(slots=True)
class Hop:
    """What the fields of a message say of its own connection, and the lines that pass on.

    `options` are the options of Connection, in lower case. `length` is Content-Length. `protocols` is what Upgrade
    names. `trailers`: whether TE says that trailer fields are welcome.
    """

    lines: list[bytes]
    options: frozenset[bytes]
    length: int | None
    chunked: bool
    protocols: bytes
    trailers: bool = False

    def keeps_alive(self, minor: int) -> bool:
        """Whether the sender, who speaks HTTP/1.`minor`, keeps its connection open: RFC 9112 section 9.3."""
        return b"close" not in self.options and (minor > 0 or b"keep-alive" in self.options)


def of_request(head: RequestHead) -> Hop:
    """Raises Malformed. No field whose name begins with Proxy- passes on: it was meant for us."""
    kept, taken = _parted(head.fields, _OF_REQUEST)
    hosts = len(taken.get(b"host", ()))
    if hosts > 1 or (hosts == 0 and head.minor > 0):
        # RFC 9112 section 3.2.
        raise Malformed("a request of HTTP/1.1 has one Host")
    options = _tokens(taken.get(b"connection", []) + taken.get(b"proxy-connection", []))
    lines = [
        b"%b: %b\r\n" % (name, value)
        for lower, name, value in kept
        if lower not in options and not lower.startswith(b"proxy-")
    ]
    if head.method in ("OPTIONS", "TRACE"):
        lines = [_one_hop_less(line) for line in lines]
    hop = _hop(lines, options, taken, head.minor)
    hop.trailers = b"trailers" in _tokens(taken.get(b"te", []))
    if head.minor == 0:
        # RFC 9110 sections 7.8 and 10.1.1: a client of HTTP/1.0 does not mean these; trailer fields need chunks.
        hop.protocols, hop.trailers = b"", False
        hop.lines = [line for line in lines if not line.lower().startswith(b"expect:")]
    elif b"h2c" in _tokens([hop.protocols]):
        # RFC 7540 section 3.2 needs HTTP2-Settings, a field of one connection; RFC 9113 has dropped it.
        hop.protocols = b""
    return hop


def _one_hop_less(line: bytes) -> bytes:
    """RFC 9110 section 7.6.2: each proxy counts Max-Forwards down; at 0 the request would not have come here."""
    name, _, value = line.partition(b": ")
    hops = value.rstrip()
    counts = name.lower() == b"max-forwards" and hops.isdigit() and len(hops) < 10
    return b"%b: %d\r\n" % (name, max(0, int(hops) - 1)) if counts else line


def of_answer(head: AnswerHead) -> Hop:
    """Raises Malformed."""
    kept, taken = _parted(head.fields, _OF_ANSWER)
    options = _tokens(taken.get(b"connection", []))
    lines = [b"%b: %b\r\n" % (name, value) for lower, name, value in kept if lower not in options]
    return _hop(lines, options, taken, head.minor)


Taken = dict[bytes, list[bytes]]


def _parted(fields: list[Field], names: frozenset[bytes]) -> tuple[list[Field], Taken]:
    kept: list[Field] = []
    taken: Taken = {}
    for field in fields:
        if field[0] in names:
            taken.setdefault(field[0], []).append(field[2])
        else:
            kept.append(field)
    return kept, taken


def _tokens(values: list[bytes]) -> frozenset[bytes]:
    """The members of a list of tokens, RFC 9110 section 5.6.1, in lower case."""
    return frozenset(token.strip(b" \t").lower() for value in values for token in value.split(b","))


def _hop(lines: list[bytes], options: frozenset[bytes], taken: Taken, minor: int) -> Hop:
    length = content_length(taken.get(b"content-length", []))
    codings = taken.get(b"transfer-encoding")
    if codings is not None:
        if length is not None:
            raise Malformed("Content-Length and Transfer-Encoding in one message")
        if minor == 0:
            raise Malformed("Transfer-Encoding in a message of HTTP/1.0")
        if b",".join(codings).lower() != b"chunked":
            raise Malformed("a Transfer-Encoding other than chunked", 501)
    # RFC 9110 section 7.8: without the option in Connection, Upgrade was meant for somebody else.
    protocols = b", ".join(taken.get(b"upgrade", ())) if b"upgrade" in options else b""
    return Hop(lines, options, length, codings is not None, protocols)
