"""A call that never sends its message ends, whatever carries it (for the engine: tests/http2/test_stream.py)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from pog.server.bridge import AsgiStream
from pog.server.connect_protocol import UnaryStream

SCOPE: dict[str, Any] = {"type": "http", "method": "POST", "path": "/a/b", "headers": [], "client": None}


async def nothing_comes() -> dict[str, Any]:
    await asyncio.Event().wait()
    raise AssertionError


async def nobody_listens(message: Any) -> None:
    raise AssertionError(message)


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pog.server.bridge.MESSAGE_TIMEOUT", 0.01)
    monkeypatch.setattr("pog.server.connect_protocol.MESSAGE_TIMEOUT", 0.01)


async def test_by_the_portable_path() -> None:
    stream = AsgiStream(SCOPE, nothing_comes, nobody_listens)
    with pytest.raises(GRPCError) as caught:
        await stream.recv_data(5)
    assert caught.value.status is Status.DEADLINE_EXCEEDED
    stream.release()


async def test_by_the_connect_protocol() -> None:
    with pytest.raises(GRPCError) as caught:
        await UnaryStream(SCOPE, nothing_comes).recv_data(5)
    assert caught.value.status is Status.DEADLINE_EXCEEDED


async def test_between_messages_there_is_no_limit() -> None:
    messages = [{"type": "http.request", "body": b"\0\0\0\0\1x", "more_body": True}]
    more = asyncio.Event()

    async def receive() -> dict[str, Any]:
        if not messages:
            await more.wait()
            return {"type": "http.request", "body": b"\0\0\0\0\0", "more_body": False}
        return messages.pop()

    stream = AsgiStream(SCOPE, receive, nobody_listens)
    assert await stream.recv_data(5) + await stream.recv_data(1) == b"\0\0\0\0\1x"
    second = asyncio.create_task(stream.recv_data(5), name="second")
    await asyncio.wait([second], timeout=0.05)
    assert not second.done()
    more.set()
    assert await second == bytes(5)
    stream.release()
