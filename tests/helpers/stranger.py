"""A stranger who sends odd requests: what fuzzers, scanners and broken programs put into fields, pseudo-header fields,
lengths and their order. The same seed gives the same requests."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pog.http2 import frames

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hpack import Encoder

Headers = list[tuple[str, str]]

PAGE: Headers = [
    (":method", "GET"),
    (":scheme", "http"),
    (":authority", "pog.example"),
    (":path", "/healthz"),
    ("user-agent", "stranger"),
]
CALL: Headers = [
    (":method", "POST"),
    (":scheme", "http"),
    (":authority", "pog.example"),
    (":path", "/grpc.health.v1.Health/Check"),
    ("content-type", "application/grpc"),
    ("te", "trailers"),
]
_METHODS = ["GET", "HEAD", "POST", "OPTIONS", "CONNECT", "TRACE", "PRI", "get", "", "GE T", "G" * 100]
_SCHEMES = ["https", "ftp", "", "http:", "h\0"]
_PATHS = [
    "",
    "*",
    "pog",
    "/",
    "//",
    "/%",
    "/%00",
    "/\xff",
    "/a b",
    "/?",
    "/#",
    "http://a/b",
    "/" + "p" * 9000,
    "/metrics",
]
_AUTHORITIES = ["", "another", "a:b@c", "POG.EXAMPLE", "[::1", "a" * 300, "pog.example:80", "\xe4"]
_FIELDS: Headers = [
    ("te", "trailers, deflate"),
    ("te", "gzip"),
    ("connection", "close"),
    ("connection", "keep-alive"),
    ("keep-alive", "timeout=5"),
    ("proxy-connection", "keep-alive"),
    ("transfer-encoding", "chunked"),
    ("upgrade", "h2c"),
    ("http2-settings", "AAMAAABk"),
    ("host", "another"),
    ("host", "pog.example"),
    ("content-length", "0"),
    ("content-length", "5"),
    ("content-length", "-1"),
    ("content-length", "99999999999999999999999"),
    ("content-length", "5, 5"),
    ("expect", "100-continue"),
    ("content-type", "application/grpc;charset=utf-8"),
    ("content-type", "Application/GRPC"),
    ("content-type", ""),
    ("grpc-timeout", "1n"),
    ("grpc-timeout", "soon"),
    ("grpc-encoding", "gzip"),
    ("x-bin", "!"),
    ("authorization", "Basic \xff"),
    ("cookie", "a=1"),
    ("cookie", "b=2"),
    ("Upper", "case"),
    ("", "nameless"),
    ("a b", "space"),
    ("a:b", "colon"),
    ("\xe4", "not ASCII"),
    ("line", "feed\r\nx: y"),
    ("nul", "\0"),
    ("blank", " around "),
    ("long", "x" * 6000),
    (":status", "200"),
    (":protocol", "websocket"),
    (":unknown", "x"),
    (":path", "/again"),
]
_CONTENTS = [b"", b"", b"12345", b"\0\0\0\0\0", b"\1\0\0\0\1x", b"\0\xff\xff\xff\xff", b"\0\0\0\0\5ab", bytes(20_000)]


@dataclass(frozen=True, slots=True)
class OddRequest:
    """One request. `trailers` None: it ends by its content; `cancelled`: it is reset right behind what was sent."""

    fields: Headers
    content: bytes
    trailers: Headers | None
    cancelled: bool

    def encode(self, stream_id: int, encoder: Encoder) -> bytes:
        """The frames of the request on one stream."""
        alone = not self.content and self.trailers is None
        wire = _headers(stream_id, self.fields, encoder, end_stream=alone)
        for start in range(0, len(self.content), 16_384):
            piece = self.content[start : start + 16_384]
            ends = self.trailers is None and start + len(piece) == len(self.content)
            wire += frames.header(len(piece), frames.DATA, frames.END_STREAM if ends else 0, stream_id) + piece
        if self.trailers is not None:
            wire += _headers(stream_id, self.trailers, encoder, end_stream=True)
        if self.cancelled:
            wire += frames.rst_stream(stream_id, 8)
        return wire


def odd_requests(seed: int) -> Iterator[OddRequest]:
    """Without end."""
    choose = random.Random(seed)
    while True:
        fields = [*choose.choice([PAGE, CALL])]
        for _ in range(choose.choice([0, 1, 1, 1, 2, 3])):
            choose.choice(_CHANGES)(choose, fields)
        trailers = choose.choice([None, None, None, [("grpc-status", "0")], [choose.choice(_FIELDS)]])
        yield OddRequest(fields, choose.choice(_CONTENTS), trailers, choose.random() < 0.1)


def _headers(stream_id: int, fields: Headers, encoder: Encoder, *, end_stream: bool) -> bytes:
    raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in fields]
    return frames.headers(stream_id, encoder.encode(raw), 16_384, end_stream=end_stream)


def _leave_out(choose: random.Random, fields: Headers) -> None:
    if fields:
        del fields[choose.randrange(len(fields))]


def _repeat(choose: random.Random, fields: Headers) -> None:
    if fields:
        fields.insert(choose.randint(0, len(fields)), choose.choice(fields))


def _shuffle(choose: random.Random, fields: Headers) -> None:
    choose.shuffle(fields)


def _change_pseudo(choose: random.Random, fields: Headers) -> None:
    name, values = choose.choice(
        [(":method", _METHODS), (":scheme", _SCHEMES), (":path", _PATHS), (":authority", _AUTHORITIES)]
    )
    fields[:] = [(each, choose.choice(values) if each == name else value) for each, value in fields]


def _add(choose: random.Random, fields: Headers) -> None:
    fields.append(choose.choice(_FIELDS))


def _add_anywhere(choose: random.Random, fields: Headers) -> None:
    fields.insert(choose.randint(0, len(fields)), choose.choice(_FIELDS))


def _add_many(choose: random.Random, fields: Headers) -> None:
    fields += [(f"x-{number}", "y") for number in range(choose.choice([50, 94, 95, 101, 500]))]


_CHANGES = (_leave_out, _repeat, _shuffle, _change_pseudo, _change_pseudo, _add, _add, _add, _add_anywhere, _add_many)
