"""A client is asked whether it is ready; what answers is played by the test."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from pog.client.connection import UserConnection
from pog.client.readiness import readiness
from pog.config.endpoints import Endpoint
from pog.errors import PogError
from pog.net.address import Address, UnixPath
from tests.client.support import front

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@asynccontextmanager
async def answering(answer: bytes | None) -> AsyncIterator[Endpoint]:
    """A program that gives this answer; None: it never does."""

    handlers = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handlers.append(asyncio.current_task())
        if answer is None:
            await reader.read()
        else:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield Endpoint(Address(*server.sockets[0].getsockname()))
    finally:
        server.close()
        await asyncio.gather(*filter(None, handlers))


async def ask(endpoint: Endpoint, limit: float = 10.0) -> tuple[bool, str]:
    return await readiness(endpoint, verify=True, limit=limit)


async def test_a_client_says_whether_its_exit_is_connected() -> None:
    async with front() as here:
        endpoint = Endpoint(here.address)
        assert await ask(endpoint) == (True, "ok")
        here.exit.problem = "west: connection refused"
        assert await ask(endpoint) == (False, "west: connection refused")
        await here.gone()


async def test_a_client_at_a_unix_domain_socket(tmp_path: Path) -> None:
    async with front() as here:
        loop, path = asyncio.get_running_loop(), str(tmp_path / "sock")
        server = await loop.create_unix_server(lambda: UserConnection(here.connections), path)
        assert await ask(Endpoint(UnixPath(path))) == (True, "ok")
        server.close()
        await here.gone()


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (None, "no answer from 127.0.0.1:[0-9]+ within 0.05 s"),
        (b"", "not HTTP"),
        (b"bye", "not HTTP"),
        (b"HTTP/1.1 404 Not Found\r\n\r\nok\n", "HTTP status 404"),
        (b"HTTP/1.1 200 OK\r\n", "not HTTP"),
    ],
)
async def test_what_is_no_client(answer: bytes | None, problem: str) -> None:
    async with answering(answer) as endpoint:
        with pytest.raises(PogError, match=problem):
            await ask(endpoint, 0.05 if answer is None else 10.0)


async def test_nobody_there() -> None:
    async with answering(b"") as endpoint:
        pass
    with pytest.raises(PogError, match="refused"):
        await ask(endpoint)
    with pytest.raises(PogError, match="unix:/nonexistent/socket: No such file"):
        await ask(Endpoint(UnixPath("/nonexistent/socket")))
