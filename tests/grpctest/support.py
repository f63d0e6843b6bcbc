"""What the tests of grpctest share: both event loops, and a client that sees single frames."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
import uvloop

from pog.grpctest.leftovers import tasks_left
from pog.grpctest.sockets import Sockets
from pog.http2.config import SessionConfig
from pog.http2.session import Session

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pog.grpctest import Serving
    from pog.http2.stream import Stream

LOOPS = pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])

REQUEST = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/test.Echo/Talk"),
    (":authority", "here"),
    ("content-type", "application/grpc"),
    ("te", "trailers"),
]


def run(
    test: Callable[[], Awaitable[None]],
    loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop,
) -> None:
    """Runs `test`; nothing that it started may be left, and the loop may have caught no exception."""
    caught: list[dict[str, Any]] = []

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: caught.append(context))
        sockets = Sockets()
        async with asyncio.timeout(30):
            await test()
        assert await tasks_left(0.0) == []
        assert sockets.left() == []

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(main())
    assert caught == [], caught


async def session(sc: Serving) -> Session:
    """A client that speaks HTTP/2 without knowing gRPC, and gives no connection up."""
    ready = asyncio.Event()
    config = SessionConfig(keepalive=0)
    _, client = await sc.connect(lambda: Session(client=True, config=config, on_stream_end=lambda _: ready.set()))
    await ready.wait()  # the first time, it tells that the server's SETTINGS have come
    return client


def call(client: Session, path: str = "/test.Echo/Talk") -> Stream:
    return client.open_stream([(name, path if name == ":path" else value) for name, value in REQUEST])
