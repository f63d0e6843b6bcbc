"""Whose error is it? Every rule that a peer can break, and what ends for it: a stream, the connection, or nothing.

A front puts the requests of strangers on one connection to us. What one of them sends in fields and lengths is passed
on, so it must never end more than its own stream (RFC 9113 section 8.1.1). Frames are the front's own: what it does
wrong there ends a stream where the standard says so, and otherwise the connection.

Numbers are sections of RFC 9113, or a number of another RFC and its section.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from h2.errors import ErrorCodes
from h2.events import RequestReceived, ResponseReceived
from hpack import Encoder
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pog.http2 import frames
from pog.http2.config import ConnectionConfig
from pog.http2.connection import Connection
from pog.http2.events import ConnectionFailed, DataReceived, StreamFailed
from pog.http2.windows import Budget
from tests.http2 import factory

if TYPE_CHECKING:
    from pog.http2.events import AnyEvent

PROTOCOL, SIZE, FLOW = ErrorCodes.PROTOCOL_ERROR, ErrorCodes.FRAME_SIZE_ERROR, ErrorCodes.FLOW_CONTROL_ERROR
CLOSED, CALM, COMPRESSION = ErrorCodes.STREAM_CLOSED, ErrorCodes.ENHANCE_YOUR_CALM, ErrorCodes.COMPRESSION_ERROR

NEIGHBOUR = 1
# The stranger's streams: open, ended by its sender, reset by its sender, reset by us; and one that is not there yet.
OPEN, ENDED, RESET, RESET_BY_US, NEW, LATER = 3, 5, 7, 9, 11, 13


@dataclass(frozen=True)
class Stream:
    """One stream is reset."""

    code: ErrorCodes
    id: int = OPEN


@dataclass(frozen=True)
class Whole:
    """The connection ends."""

    code: ErrorCodes


NOBODY = None
Verdict = Stream | Whole | None


class Peer:
    """The other end, with one table of header compression for the whole connection."""

    def __init__(self, *, client: bool) -> None:
        self.client = client
        self.ours = Connection(ConnectionConfig(), Budget(1 << 30), client=not client, clock=float)
        self.encoder = Encoder()
        self.ours.initiate()
        self.send((frames.PREFACE if client else b"") + factory.settings())
        machine = self.ours._machine
        for stream_id in (NEIGHBOUR, OPEN, ENDED, RESET, RESET_BY_US):
            if not client:
                self.ours.open_stream(factory.REQUEST)
            else:
                self.send(self.headers(stream_id, factory.REQUEST))
        if not client:
            for stream_id in (NEIGHBOUR, ENDED):
                self.send(self.headers(stream_id, factory.RESPONSE))
        self.send(factory.data(ENDED, b"", end_stream=True) + factory.rst_stream(RESET))
        self.ours.reset_stream(machine.streams[RESET_BY_US], ErrorCodes.CANCEL)
        self.output()

    def headers(self, stream_id: int, fields: factory.Headers, *, end_stream: bool = False) -> bytes:
        flags = frames.END_HEADERS | (frames.END_STREAM if end_stream else 0)
        return factory.frame(frames.HEADERS, flags, stream_id, self.encoder.encode(fields))

    def send(self, data: bytes) -> list[AnyEvent]:
        events = self.ours.receive_data(data, 0.0)
        while self.ours.unfinished:
            events += self.ours.receive_data(b"", 0.0)
        return events

    def output(self) -> bytes:
        self.ours.outbound.pull(1 << 30)
        return b"".join(self.ours.data_to_send())

    def check_neighbours(self) -> None:
        """Bytes go on in both directions, and a new stream is understood: the tables are in step."""
        assert not self.ours.failed
        (event,) = self.send(factory.data(NEIGHBOUR, b"hello"))
        assert isinstance(event, DataReceived)
        assert (event.stream_id, bytes(event.data)) == (NEIGHBOUR, b"hello")
        if self.client:
            (event,) = self.send(self.headers(99, factory.REQUEST))
            assert isinstance(event, RequestReceived)
            assert [(str(name), str(value)) for name, value in event.headers] == factory.REQUEST
        else:
            stream = self.ours.open_stream(factory.REQUEST)
            (event,) = self.send(self.headers(stream.stream_id, factory.RESPONSE))
            assert isinstance(event, ResponseReceived)
            assert [(str(name), str(value)) for name, value in event.headers] == factory.RESPONSE


def judge(peer: Peer, data: bytes) -> Verdict:
    """What ended when the peer sent this, with the checks that nothing else did."""
    events = peer.send(data)
    resets = factory.resets(peer.output())
    failed = [event for event in events if isinstance(event, ConnectionFailed)]
    if failed:
        assert peer.ours.failed
        return Whole(ErrorCodes(failed[0].error_code))
    peer.check_neighbours()
    if not resets:
        return NOBODY
    ((stream_id, code),) = resets
    assert stream_id not in peer.ours._machine.streams
    return Stream(ErrorCodes(code), stream_id)


def request(*more: tuple[str, str], without: str = "", **instead: str) -> factory.Headers:
    fields = [(name, instead.get(name.strip(":"), value)) for name, value in factory.REQUEST if name != without]
    return [*fields, *more]


MALFORMED_REQUESTS = {
    "8.2.1 upper case": request(("Upper", "x")),
    "8.2.1 no name": request(("", "x")),
    "8.2.1 space in a name": request(("a b", "x")),
    "8.2.1 colon in a name": request(("a:b", "x")),
    "8.2.1 a name that is not ASCII": request(("\xe4", "x")),
    "8.2.1 line feed in a value": request(("a", "x\nb: y")),
    "8.2.1 NUL in a value": request(("a", "\0")),
    "8.2.1 space around a value": request(("a", " x")),
    "8.2.2 connection": request(("connection", "keep-alive")),
    "8.2.2 keep-alive": request(("keep-alive", "timeout=5")),
    "8.2.2 proxy-connection": request(("proxy-connection", "keep-alive")),
    "8.2.2 transfer-encoding": request(("transfer-encoding", "chunked")),
    "8.2.2 upgrade": request(("upgrade", "websocket")),
    "8.2.2 te": request(te="trailers, deflate"),
    "8.3 unknown pseudo-header field": request()[:4] + [(":late", "x")],
    "8.3 pseudo-header field behind a field": request((":authority2", "x")),
    "8.3 pseudo-header field twice": [*request()[:4], (":path", "/")],
    "8.3 of a response": [*request()[:4], (":status", "200")],
    "8.3.1 no method": request(without=":method"),
    "8.3.1 no scheme": request(without=":scheme"),
    "8.3.1 no path": request(without=":path"),
    "8.3.1 empty path": request(path=""),
    "8.3.1 a path that is none": request(path="pog"),
    "8.3.1 a method that is none": request(method="GE T"),
    "8.3.1 host and :authority differ": request(("host", "another")),
    "9110 7.2 two hosts": request(("host", "exit:8080"), ("host", "exit:8080")),
    "8.5 CONNECT with a path": request(method="CONNECT"),
    "8.5 CONNECT without an authority": [(":method", "CONNECT")],
    "8441 3 :protocol, though we do not offer it": [*request(method="CONNECT")[:4], (":protocol", "websocket")],
    "8.1.1 content-length is no number": request(("content-length", "-1")),
    "8.1.1 content-length is a long number": request(("content-length", "9" * 5000)),
    "8.1.1 two content-lengths": request(("content-length", "1"), ("content-length", "2")),
    "no fields at all": [],
}

LEGAL_REQUESTS = {
    "8.3.1 no authority": request(without=":authority"),
    "8.3.1 host instead of :authority": request(("host", "exit"), without=":authority"),
    "8.3.1 host and :authority the same": request(("host", "EXIT:8080")),
    "8.3.1 and the default port": request(("host", "a"), authority="A:80"),
    "8.3.1 OPTIONS *": request(method="OPTIONS", path="*"),
    "8.5 CONNECT": [(":method", "CONNECT"), (":authority", "a:1")],
    "8.2.2 te": request(te="TRAILERS"),
    "an empty value": request(("a", "")),
    "a value that is not ASCII": request(("a", "\xe4")),
    "an unknown method": request(method="BREW"),
    "the same content-length twice": request(("content-length", "1"), ("content-length", "1")),
    "100 fields": request(*((f"x-{number}", "y") for number in range(94))),
}


@pytest.mark.parametrize("fields", MALFORMED_REQUESTS.values(), ids=MALFORMED_REQUESTS.keys())
@pytest.mark.parametrize("end_stream", [False, True])
def test_a_malformed_request_ends_its_stream(fields: factory.Headers, end_stream: bool) -> None:
    peer = Peer(client=True)
    assert judge(peer, peer.headers(NEW, fields, end_stream=end_stream)) == Stream(PROTOCOL, NEW)


@pytest.mark.parametrize("fields", LEGAL_REQUESTS.values(), ids=LEGAL_REQUESTS.keys())
def test_an_odd_request_is_taken(fields: factory.Headers) -> None:
    peer = Peer(client=True)
    assert judge(peer, peer.headers(NEW, fields)) is NOBODY
    assert NEW in peer.ours._machine.streams


MALFORMED_RESPONSES = {
    "8.2.2 connection": [(":status", "502"), ("connection", "close")],
    "8.2.2 transfer-encoding": [(":status", "200"), ("transfer-encoding", "chunked")],
    "8.2.1 upper case": [(":status", "200"), ("Server", "x")],
    "8.3.2 no status": [("server", "x")],
    "8.3.2 a status that is none": [(":status", "ok")],
    "8.3.2 a field of requests": [(":status", "200"), (":path", "/")],
    "8.1.1 content-length": [(":status", "200"), ("content-length", "a")],
    "no fields at all": [],
}


@pytest.mark.parametrize("fields", MALFORMED_RESPONSES.values(), ids=MALFORMED_RESPONSES.keys())
@pytest.mark.parametrize("end_stream", [False, True])
def test_a_malformed_response_ends_its_stream(fields: factory.Headers, end_stream: bool) -> None:
    peer = Peer(client=False)
    assert judge(peer, peer.headers(OPEN, fields, end_stream=end_stream)) == Stream(PROTOCOL)


HEAD, LONG = frames.header, bytes(300_000)
BLOCK = factory.block(factory.REQUEST)
UPDATE = b"\x3f\xe1\x1f"  # of the table's size, to 4096: the size that it has

ON_THE_SERVER: list[tuple[str, bytes, Verdict]] = [
    # The rest of a message
    ("8.1 trailers without END_STREAM", factory.headers(OPEN, factory.TRAILERS), Stream(PROTOCOL)),
    ("8.1 pseudo-header in trailers", factory.headers(OPEN, factory.RESPONSE, end_stream=True), Stream(PROTOCOL)),
    ("8.2.2 in trailers", factory.headers(OPEN, [("connection", "close")], end_stream=True), Stream(PROTOCOL)),
    (
        "8.1.1 less content than announced",
        factory.headers(NEW, request(("content-length", "5"))) + factory.data(NEW, b"1234", end_stream=True),
        Stream(PROTOCOL, NEW),
    ),
    (
        "8.1.1 more content than announced",
        factory.headers(NEW, request(("content-length", "5"))) + factory.data(NEW, b"123456"),
        Stream(PROTOCOL, NEW),
    ),
    (
        "8.1.1 none, though announced",
        factory.headers(NEW, request(("content-length", "5")), end_stream=True),
        Stream(PROTOCOL, NEW),
    ),
    (
        "8.1.1 less, and trailers",
        factory.headers(NEW, request(("content-length", "5")))
        + factory.data(NEW, b"123")
        + factory.headers(NEW, factory.TRAILERS, end_stream=True),
        Stream(PROTOCOL, NEW),
    ),
    (
        "8.1.1 as announced",
        factory.headers(NEW, request(("content-length", "5")))
        + factory.data(NEW, b"12345", end_stream=True, padding=9),
        NOBODY,
    ),
    # Frames of a stream
    ("6.9 WINDOW_UPDATE by 0", factory.window_update(OPEN, 0), Stream(PROTOCOL)),
    ("6.9.1 a window over 2^31-1", factory.window_update(OPEN, 2**31 - 1), Stream(FLOW)),
    ("6.9.1 more than the window", factory.data(OPEN, bytes(65_537)), Stream(FLOW)),
    ("6.3 PRIORITY of 4 bytes", factory.frame(frames.PRIORITY, 0, OPEN, bytes(4)), Stream(SIZE)),
    ("7540 5.3.1 on itself", factory.frame(frames.PRIORITY, 0, OPEN, b"\0\0\0\3\0"), Stream(PROTOCOL)),
    (
        "7540 5.3.1 on itself, by HEADERS",
        factory.frame(frames.HEADERS, frames.END_HEADERS | frames.WITH_PRIORITY, NEW, b"\0\0\0\x0b\0" + BLOCK),
        Stream(PROTOCOL, NEW),
    ),
    ("5.1 DATA behind END_STREAM", factory.data(ENDED, b"x"), Stream(CLOSED, ENDED)),
    ("5.1 HEADERS behind END_STREAM", factory.headers(ENDED, factory.TRAILERS, end_stream=True), Stream(CLOSED, ENDED)),
    ("5.1 DATA behind RST_STREAM", factory.data(RESET, b"x"), Stream(CLOSED, RESET)),
    ("5.1 HEADERS behind RST_STREAM", factory.headers(RESET), Stream(CLOSED, RESET)),
    ("5.1 DATA that crosses our reset", factory.data(RESET_BY_US, b"x"), NOBODY),
    ("5.1 HEADERS that cross our reset", factory.headers(RESET_BY_US, factory.TRAILERS, end_stream=True), NOBODY),
    ("5.1 RST_STREAM that crosses our reset", factory.rst_stream(RESET_BY_US), NOBODY),
    ("5.1 WINDOW_UPDATE that crosses our reset", factory.window_update(RESET_BY_US, 0), NOBODY),
    # What is ignored
    ("5.5 an unknown frame", factory.frame(0xFE, 0xFF, OPEN, b"what"), NOBODY),
    ("7838 ALTSVC", factory.frame(0xA, 0, OPEN, b"\0"), NOBODY),
    ("5.3.2 PRIORITY", factory.frame(frames.PRIORITY, 0, OPEN, bytes(5)), NOBODY),
    ("5.3.2 PRIORITY of 4 bytes on a closed stream", factory.frame(frames.PRIORITY, 0, RESET, bytes(4)), NOBODY),
    # The connection's own: what the peer itself has to keep to, whatever is on it
    ("4.2 a frame over our limit", HEAD(300_000, frames.DATA, 0, OPEN) + LONG, Whole(SIZE)),
    ("4.3 a block that cannot be decoded", factory.frame(frames.HEADERS, 4, NEW, b"\xff\xff\xff"), Whole(COMPRESSION)),
    ("4.3 an index that is not there", factory.frame(frames.HEADERS, 4, NEW, b"\xfe"), Whole(COMPRESSION)),
    ("4.3 a field that is cut", factory.frame(frames.HEADERS, 4, NEW, BLOCK[:-1]), Whole(COMPRESSION)),
    ("7541 4.2 a size behind a field", factory.frame(frames.HEADERS, 4, NEW, b"\x82" + UPDATE), Whole(COMPRESSION)),
    ("7541 4.2 a size over ours", factory.frame(frames.HEADERS, 4, NEW, b"\x3f\xe2\x1f\x82"), Whole(COMPRESSION)),
    ("5.1 DATA on an idle stream", factory.data(LATER, b"x"), Whole(PROTOCOL)),
    ("5.1 WINDOW_UPDATE on an idle stream", factory.window_update(LATER, 1), Whole(PROTOCOL)),
    ("5.1 an idle stream that depends on itself", factory.frame(2, 0, LATER, b"\0\0\0\x0d\0"), Whole(PROTOCOL)),
    ("5.1.1 an even identifier", factory.headers(2), Whole(PROTOCOL)),
    ("5.1.1 an identifier that was passed over", factory.headers(LATER) + factory.headers(NEW), Whole(PROTOCOL)),
    ("6.1 DATA on stream 0", factory.data(0, b"x"), Whole(PROTOCOL)),
    ("6.1 padding over the frame", factory.frame(frames.DATA, frames.PADDED, OPEN, b"\x05abc"), Whole(PROTOCOL)),
    ("6.1 padding without its length", factory.frame(frames.DATA, frames.PADDED, OPEN), Whole(SIZE)),
    ("6.2 HEADERS on stream 0", factory.headers(0), Whole(PROTOCOL)),
    ("6.2 padding over the frame", factory.frame(frames.HEADERS, 4 | frames.PADDED, NEW, b"\x05abc"), Whole(PROTOCOL)),
    ("6.2 padding without its length", factory.frame(frames.HEADERS, 4 | frames.PADDED, NEW), Whole(SIZE)),
    ("6.2 priority that is cut", factory.frame(frames.HEADERS, 4 | frames.WITH_PRIORITY, NEW, b"abcd"), Whole(SIZE)),
    ("6.2 another frame inside a block", factory.frame(1, 0, NEW) + factory.data(OPEN, b"x"), Whole(PROTOCOL)),
    ("6.2 an unknown one", factory.frame(1, 0, NEW) + factory.frame(0xFE, 0, NEW), Whole(PROTOCOL)),
    ("6.3 PRIORITY on stream 0", factory.frame(frames.PRIORITY, 0, 0, bytes(5)), Whole(PROTOCOL)),
    ("6.4 RST_STREAM on stream 0", factory.rst_stream(0), Whole(PROTOCOL)),
    ("6.4 RST_STREAM on an idle stream, while others are open", factory.rst_stream(LATER), NOBODY),
    ("6.4 RST_STREAM of 3 bytes", factory.frame(frames.RST_STREAM, 0, OPEN, bytes(3)), Whole(SIZE)),
    ("6.5 SETTINGS on a stream", factory.frame(frames.SETTINGS, 0, OPEN), Whole(PROTOCOL)),
    ("6.5 SETTINGS of 5 bytes", factory.frame(frames.SETTINGS, 0, 0, bytes(5)), Whole(SIZE)),
    ("6.5 an acknowledgement with values", factory.settings({4: 1}, ack=True), Whole(PROTOCOL)),
    ("6.5.2 a window over 2^31-1", factory.settings({4: 2**31}), Whole(FLOW)),
    ("6.5.2 a frame size under 2^14", factory.settings({5: 1}), Whole(PROTOCOL)),
    ("6.5.2 push that is neither on nor off", factory.settings({2: 2}), Whole(PROTOCOL)),
    ("6.6 PUSH_PROMISE", factory.frame(frames.PUSH_PROMISE, 4, OPEN, bytes(4) + BLOCK), Whole(PROTOCOL)),
    ("6.7 PING on a stream", factory.frame(frames.PING, 0, OPEN, bytes(8)), Whole(PROTOCOL)),
    ("6.7 PING of 7 bytes", factory.frame(frames.PING, 0, 0, bytes(7)), Whole(SIZE)),
    ("6.8 GOAWAY on a stream", factory.frame(frames.GOAWAY, 0, OPEN, bytes(8)), Whole(PROTOCOL)),
    ("6.8 GOAWAY of 7 bytes", factory.frame(frames.GOAWAY, 0, 0, bytes(7)), Whole(SIZE)),
    ("6.9 WINDOW_UPDATE of 3 bytes", factory.frame(frames.WINDOW_UPDATE, 0, OPEN, bytes(3)), Whole(SIZE)),
    ("6.9 WINDOW_UPDATE by 0 on the connection", factory.window_update(0, 0), Whole(PROTOCOL)),
    ("6.9.1 a connection's window over 2^31-1", factory.window_update(0, 2**31 - 1), Whole(FLOW)),
    (
        "6.9.2 a setting that opens a window over 2^31-1",
        factory.window_update(OPEN, 2**31 - 1 - 65_535) + factory.settings({4: 65_536}),
        Whole(FLOW),
    ),
    ("6.10 CONTINUATION without a block", factory.frame(frames.CONTINUATION, 4, OPEN), Whole(PROTOCOL)),
    ("6.10 of another stream", factory.frame(1, 0, NEW) + factory.frame(9, 4, OPEN), Whole(PROTOCOL)),
    # Limits that cannot be kept to otherwise
    ("10.5.1 a block over our limit", HEAD(65_537, frames.HEADERS, 4, NEW), Whole(CALM)),
    ("10.5.1 a block in many parts", factory.frame(1, 0, NEW) + factory.frame(9, 0, NEW) * 17, Whole(CALM)),
]


@pytest.mark.parametrize(("data", "verdict"), [each[1:] for each in ON_THE_SERVER], ids=[e[0] for e in ON_THE_SERVER])
def test_what_a_client_does_wrong(data: bytes, verdict: Verdict) -> None:
    assert judge(Peer(client=True), data) == verdict


def test_a_reset_of_an_idle_stream_ends_a_connection_that_has_no_other() -> None:
    connection = Connection(ConnectionConfig(), Budget(1 << 30), client=False, clock=float)
    events = connection.receive_data(frames.PREFACE + factory.settings() + factory.rst_stream(1), 0.0)
    assert isinstance(events[-1], ConnectionFailed)
    assert events[-1].error_code == PROTOCOL


def answered(stream_id: int = OPEN) -> bytes:
    return factory.headers(stream_id, factory.RESPONSE)


ON_THE_CLIENT: list[tuple[str, bytes, Verdict]] = [
    ("8.1 DATA before the head", factory.data(OPEN, b"x"), Stream(PROTOCOL)),
    (
        "8.1 an informational response that ends",
        factory.headers(OPEN, [(":status", "103")], end_stream=True),
        Stream(PROTOCOL),
    ),
    (
        "8.1 an informational response behind the other",
        answered() + factory.headers(OPEN, [(":status", "103")]),
        Stream(PROTOCOL),
    ),
    (
        "8.1 a malformed informational response",
        factory.headers(OPEN, [(":status", "103"), ("connection", "x")]),
        Stream(PROTOCOL),
    ),
    ("8.1 an informational response", factory.headers(OPEN, [(":status", "103")]), NOBODY),
    ("8.1 a second head", answered() + answered(), Stream(PROTOCOL)),
    ("8.1 trailers without END_STREAM", answered() + factory.headers(OPEN, factory.TRAILERS), Stream(PROTOCOL)),
    (
        "8.1 pseudo-header in trailers",
        answered() + factory.headers(OPEN, [(":status", "200")], end_stream=True),
        Stream(PROTOCOL),
    ),
    (
        "8.1.1 less content than announced",
        factory.headers(OPEN, [*factory.RESPONSE, ("content-length", "5")])
        + factory.data(OPEN, b"12", end_stream=True),
        Stream(PROTOCOL),
    ),
    ("6.9 WINDOW_UPDATE by 0", factory.window_update(OPEN, 0), Stream(PROTOCOL)),
    ("6.9.1 more than the window", answered() + factory.data(OPEN, bytes(65_537)), Stream(FLOW)),
    ("5.1 DATA behind END_STREAM", factory.data(ENDED, b"x"), Stream(CLOSED, ENDED)),
    ("5.1 HEADERS that cross our reset", answered(RESET_BY_US), NOBODY),
    ("8.4 a stream of the server's own", answered(2), Whole(PROTOCOL)),
    ("5.1 an answer to nothing", answered(99), Whole(PROTOCOL)),
    ("8.4 PUSH_PROMISE", factory.frame(frames.PUSH_PROMISE, 4, OPEN, bytes(4) + BLOCK), Whole(PROTOCOL)),
    ("6.5.2 push that is on", factory.settings({2: 1}), Whole(PROTOCOL)),
]


@pytest.mark.parametrize(("data", "verdict"), [each[1:] for each in ON_THE_CLIENT], ids=[e[0] for e in ON_THE_CLIENT])
def test_what_a_server_does_wrong(data: bytes, verdict: Verdict) -> None:
    assert judge(Peer(client=False), data) == verdict


def test_the_owner_of_a_stream_that_failed_is_told_why() -> None:
    peer = Peer(client=False)
    events = peer.send(peer.headers(OPEN, [(":status", "502"), ("connection", "close")]))
    assert events == [
        StreamFailed(OPEN, PROTOCOL, "the field b'connection', which belongs to a connection of HTTP/1.1"),
    ]


# Too many fields


TOO_MANY = {
    "indexed": b"\x82" * 1800,
    "literal": b"\x00\x01a\x01b" * 1800,
    "literal, with a name of the table": b"\x04\x01b" * 1800,
    "never indexed": b"\x10\x01a\x01b" * 1800,
    "long": (b"\x00\x01a\x7f\xf1\x06" + b"0" * 1008) * 64,
    "long by the table": b"\x40\x01a\x7f\xf1\x06" + b"0" * 1008 + b"\xbe" * 99,
    "added to the table behind the limit": b"\x82" * 100 + b"\x40\x01a\x01b" * 1900,
}


@pytest.mark.parametrize("block", TOO_MANY.values(), ids=TOO_MANY.keys())
def test_a_request_with_too_many_fields_is_answered_and_the_table_is_in_step(block: bytes) -> None:
    peer = Peer(client=True)
    # Entries that the next request will refer to, in both halves of the block.
    known = peer.encoder.encode([("x-first", "1")])
    more = peer.encoder.encode([("x-last", "2")])
    events = peer.send(factory.frame(frames.HEADERS, 4, NEW, known + block + more))
    assert [type(event) for event in events] == [StreamFailed]
    head, reset = factory.parse(peer.output())
    assert (head.type, head.stream_id, "END_STREAM" in head.flags) == (frames.HEADERS, NEW, True)
    assert (reset.type, reset.stream_id) == (frames.RST_STREAM, NEW)
    if b"\x40" not in block:
        (event,) = peer.send(peer.headers(LATER, request(("x-first", "1"), ("x-last", "2"))))
        assert isinstance(event, RequestReceived)
        assert [(str(name), str(value)) for name, value in event.headers] == request(("x-first", "1"), ("x-last", "2"))
        peer.check_neighbours()


def test_trailers_and_answers_with_too_many_fields_end_their_stream() -> None:
    many = [("a", "b")] * 101
    peer = Peer(client=True)
    assert judge(peer, peer.headers(OPEN, many, end_stream=True)) == Stream(CALM)
    peer = Peer(client=False)
    assert judge(peer, peer.headers(OPEN, [(":status", "200"), *many])) == Stream(CALM)


def test_a_block_that_only_fills_the_table_ends_the_connection() -> None:
    block = b"\x82" * 100 + b"\x40\x01a\x01b" * 2049
    assert judge(Peer(client=True), factory.frame(frames.HEADERS, 4, NEW, block)) == Whole(CALM)


# All of it at random


NAMES = st.sampled_from(
    [":method", ":scheme", ":path", ":authority", ":status", ":protocol", ":x", "host", "te", "connection", "cookie"]
    + ["content-length", "transfer-encoding", "content-type", "grpc-timeout", "A", "", "a b", "x", "\xe4"]
)
VALUES = st.sampled_from(
    ["", "GET", "POST", "http", "/", "*", "exit:8080", "5", "trailers", "200", "a\nb", " x", "\xe4"]
)
FIELDS = st.lists(st.tuples(NAMES, VALUES), max_size=8)


@given(st.permutations(factory.REQUEST), FIELDS, st.integers(0, 6), st.booleans(), st.integers(0, 8))
@example(factory.REQUEST, [], 6, False, 0)
@settings(max_examples=300, deadline=None)
def test_whatever_a_stranger_puts_into_a_request_ends_at_most_its_stream(
    usual: factory.Headers, odd: factory.Headers, kept: int, end_stream: bool, size: int
) -> None:
    peer = Peer(client=True)
    data = peer.headers(NEW, usual[:kept] + odd, end_stream=end_stream)
    if not end_stream:
        data += factory.data(NEW, bytes(size)) + peer.headers(NEW, odd, end_stream=True)
    events = peer.send(data)
    assert not any(isinstance(event, ConnectionFailed) for event in events)
    peer.output()
    peer.check_neighbours()
