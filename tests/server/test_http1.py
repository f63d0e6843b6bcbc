"""Connections of HTTP/1.1 that stand still: they end, and the server's end does not wait for them."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import pytest

from pog.http2 import frames
from pog.server import http1
from pog.server.http1 import Progress
from tests.http2 import factory
from tests.server.support import SECONDS, serving

if TYPE_CHECKING:
    from tests.server.support import Running

HALF_A_CALL = (
    b"POST /healthcheck.Healthcheck/Invoke HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    b"Content-Length: 100\r\n\r\n{"
)
# Far more than the sockets' buffers hold.
MANY_PAGES = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 400
HALF_A_PAGE = b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n"


# netinet/tcp.h
_ESTABLISHED = 1


async def connect(running: Running, data: bytes) -> socket.socket:
    """Sends `data`, and has read nothing."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(sock, running.address)
    await loop.sock_sendall(sock, data)
    return sock


async def gone(sock: socket.socket) -> bytes:
    """Waits for the end of the connection without reading, then gives what had come."""
    received, loop = b"", asyncio.get_running_loop()
    async with asyncio.timeout(SECONDS):
        while sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _ESTABLISHED:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        try:
            while data := await loop.sock_recv(sock, 1 << 16):
                received += data
        except ConnectionResetError:
            pass
    sock.close()
    return received


@pytest.mark.parametrize("data", [HALF_A_CALL, MANY_PAGES], ids=["half a call", "many pages"])
async def test_a_connection_on_which_nothing_moves_is_ended(
    data: bytes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(http1, "NO_PROGRESS_TIMEOUT", 0.2)
    caplog.set_level("INFO")
    async with serving() as running:
        await gone(await connect(running, data))
        assert "without progress for" in caplog.text
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize("data", [HALF_A_CALL, MANY_PAGES], ids=["half a call", "many pages"])
async def test_the_servers_end_does_not_wait_for_it(data: bytes, caplog: pytest.LogCaptureFixture) -> None:
    async with serving() as running:
        # An answer has begun: by then the server is at it.
        sock = await connect(running, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" + data)
        await asyncio.get_running_loop().sock_recv(sock, 10)
        running.end.set()
        async with asyncio.timeout(SECONDS):
            await running.task
        sock.close()
    assert "Traceback" not in caplog.text


async def test_pages_are_answered_one_after_the_other_and_the_rest_of_a_request_is_not_waited_for() -> None:
    async with serving() as running:
        reader, writer = await asyncio.open_connection(*running.address)
        for _ in range(2):
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            assert await reader.readuntil(b"ok\n")
        writer.write(HALF_A_PAGE)
        assert (await reader.read()).startswith(b"HTTP/1.1 405")
        writer.close()


async def test_a_connection_that_becomes_one_of_http2_is_not_watched_any_more() -> None:
    async with serving() as running:
        reader, writer = await asyncio.open_connection(*running.address)
        writer.write(frames.PREFACE + factory.settings() + frames.ping(b"answered"))
        received = b""
        while b"answered" not in received:
            received += await reader.read(4096)
        assert not [task for task in asyncio.all_tasks() if task.get_name() == "http1-watch"]
        writer.close()


def test_stillness_is_counted_from_the_last_move() -> None:
    progress = Progress(0.0, (0, 0))
    assert progress.stalled_for(15.0, (0, 0)) == 15.0
    assert progress.stalled_for(30.0, (1, 0)) == 0.0
    assert progress.stalled_for(75.0, (1, 0)) == 45.0
    assert progress.stalled_for(90.0, (1, -3)) == 0.0
    assert progress.stalled_for(150.0, (1, -3)) == 60.0
