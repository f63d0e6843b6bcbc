"""What the tests of grpctest share: the event loops, and a client that sees single frames."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from pog.http2.config import SessionConfig
from pog.http2.session import Session

if TYPE_CHECKING:
    from pog.grpctest import Serving
    from pog.http2.stream import Stream

# What users of grpctest have when they ask for nothing else, and what the other tests here run on.
ASYNCIO = pytest.mark.loops("asyncio")
BOTH_LOOPS = pytest.mark.loops("asyncio", "uvloop")

REQUEST = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/test.Echo/Talk"),
    (":authority", "here"),
    ("content-type", "application/grpc"),
    ("te", "trailers"),
]


async def session(sc: Serving) -> Session:
    """A client that speaks HTTP/2 without knowing gRPC, and gives no connection up."""
    ready = asyncio.Event()
    config = SessionConfig(keepalive=0)
    _, client = await sc.connect(lambda: Session(client=True, config=config, on_stream_end=lambda _: ready.set()))
    await ready.wait()  # the first time, it tells that the server's SETTINGS have come
    return client


def call(client: Session, path: str = "/test.Echo/Talk") -> Stream:
    return client.open_stream([(name, path if name == ":path" else value) for name, value in REQUEST])
