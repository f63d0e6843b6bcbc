"""Answers to requests for pages: whole ones, those that come in pieces, and users who do not read them."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import pytest

from pog.client import page_answer
from pog.client.page_answer import Page
from tests.client.support import SECONDS, User, front

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from pog.front.base import PageRequest
    from tests.client.support import Front

# More than the sockets' buffers hold.
MUCH = 16 << 20
PIECE = bytes(1 << 18)


class Whole:
    """A page with all of its content, once it may be made."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.made = asyncio.Event()
        self.made.set()

    async def answer(self, request: PageRequest, *, tls: bool = False, local: bool = False) -> Page:
        await self.made.wait()
        return Page(200, "text/plain", self._content, (("X-Path", request.target),))


class Pieces:
    """A page whose content comes in pieces, as many as `count`; without a count it has no end."""

    def __init__(self, *pieces: bytes, fails: bool = False, waits: bool = False) -> None:
        self._pieces = pieces
        self._fails = fails
        self._waits = waits
        self.given = 0
        self.closed = asyncio.Event()

    async def answer(self, request: PageRequest, *, tls: bool = False, local: bool = False) -> Page:
        return Page(200, "text/event-stream", self._content())

    async def _content(self) -> AsyncGenerator[bytes, None]:
        try:
            for piece in self._pieces:
                self.given += 1
                yield piece
            if self._fails:
                raise ZeroDivisionError
            if self._waits:
                await asyncio.Event().wait()
        finally:
            self.closed.set()


class Failing:
    """A page that cannot be made."""

    async def answer(self, request: PageRequest, *, tls: bool = False, local: bool = False) -> Page:
        raise ZeroDivisionError


async def ask(here: Front, head: bytes = b"GET /x HTTP/1.1\r\nHost: h\r\n\r\n", buffer: int = 0) -> User:
    """A user that has asked for a page; with a size for its receive buffer it reads nothing on its own."""
    sock = socket.socket()
    if buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", here.address.port))
    user = User(*await asyncio.open_connection(sock=sock, limit=buffer or 1 << 16))
    user.send(head)
    return user


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_whole_page_has_its_length(method: str) -> None:
    async with front(pages=Whole(b"content")) as here:
        user = await ask(here, f"{method} /x HTTP/1.1\r\nHost: h\r\n\r\n".encode())
        status, fields, body = await user.answer()
        assert (status, fields["content-length"], fields["x-path"], fields["connection"]) == (200, "7", "/x", "close")
        assert body == (b"content" if method == "GET" else b"")
        await here.gone()


@pytest.mark.parametrize(
    ("request_line", "framing", "body"),
    [
        ("GET / HTTP/1.1", "chunked", b"3\r\none\r\n5\r\n, two\r\n0\r\n\r\n"),
        ("GET / HTTP/1.0", None, b"one, two"),
        ("HEAD / HTTP/1.1", "chunked", b""),
    ],
)
async def test_pieces_are_framed_by_the_users_version(request_line: str, framing: str | None, body: bytes) -> None:
    async with front(pages=(pages := Pieces(b"one", b", two"))) as here:
        user = await ask(here, f"{request_line}\r\nHost: h\r\n\r\n".encode())
        status, fields, received = await user.answer()
        assert (status, fields.get("transfer-encoding"), received) == (200, framing, body)
        assert "content-length" not in fields
        assert pages.given == (0 if request_line.startswith("HEAD") else 2)
        await here.gone()


async def test_a_piece_arrives_before_the_next_is_made() -> None:
    async with front(pages=Pieces(b"one", waits=True)) as here:
        user = await ask(here)
        await user.head()
        assert await user.receive(8) == b"3\r\none\r\n"
        user.leave()
        await here.gone()


async def test_the_next_piece_waits_for_a_slow_reader() -> None:
    count = MUCH // len(PIECE)
    async with front(pages=(pages := Pieces(*[PIECE] * count))) as here:
        user = await ask(here, b"GET / HTTP/1.0\r\n\r\n", buffer=4096)
        await user.head()
        given = -1
        while given != pages.given:  # it has come to rest
            given = pages.given
            await asyncio.sleep(0.05)
        assert 0 < given < count
        assert await user.rest() == PIECE * count
        user.leave()
        await here.gone()


@pytest.mark.parametrize("how", ["leave", "reset"])
async def test_a_user_who_leaves_ends_the_page(how: str) -> None:
    async with front(pages=(pages := Pieces(b"one", waits=True))) as here:
        user = await ask(here)
        await user.head()
        await user.receive(8)
        user.reset() if how == "reset" else user.leave()
        async with asyncio.timeout(SECONDS):
            await pages.closed.wait()
        await here.gone()


async def test_a_user_may_be_done_with_sending() -> None:
    async with front(pages=(pages := Whole(b"content"))) as here:
        pages.made.clear()
        user = await ask(here)
        user.send_eof()
        pages.made.set()
        assert (await user.answer())[2] == b"content"
        await here.gone()


async def test_a_page_that_cannot_be_made_is_500(caplog: pytest.LogCaptureFixture) -> None:
    async with front(pages=Failing()) as here:
        status, fields, body = await (await ask(here)).answer()
        assert (status, body) == (500, b"internal error\n")
        assert "ZeroDivisionError" in caplog.text
        await here.gone()


async def test_a_page_that_breaks_off_does_not_look_complete(caplog: pytest.LogCaptureFixture) -> None:
    async with front(pages=Pieces(b"one", fails=True)) as here:
        user = await ask(here, b"GET / HTTP/1.0\r\n\r\n")
        with pytest.raises(ConnectionResetError):
            await user.rest()
        assert "ZeroDivisionError" in caplog.text
        user.leave()
        await here.gone()


@pytest.mark.parametrize("pages", [Whole(bytes(MUCH)), Pieces(bytes(MUCH))], ids=["whole", "pieces"])
async def test_a_user_who_reads_nothing_is_given_up(
    pages: Whole | Pieces, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(page_answer, "NO_PROGRESS_TIMEOUT", 0.1)
    caplog.set_level("INFO")
    async with front(pages=pages) as here:
        user = await ask(here, buffer=4096)
        await user.head()
        async with asyncio.timeout(SECONDS):
            while "a page was not read for 0.1 s" not in caplog.text:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        await here.gone()
        user.leave()


async def test_a_user_who_does_not_close_after_a_page_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_answer, "LINGER", 0.05)
    async with front(pages=Whole(b"content")) as here:
        user = await ask(here)
        await user.head()
        await here.gone()
        user.leave()


async def test_the_drain_waits_for_whole_pages_up_to_its_limit() -> None:
    async with front(pages=(pages := Whole(b"content"))) as here:
        pages.made.clear()
        user, late = await ask(here), await ask(here, buffer=4096)
        drain = asyncio.create_task(here.connections.drain(SECONDS), name="drain")
        await asyncio.sleep(0)
        pages.made.set()
        assert (await user.answer())[2] == b"content"
        late.leave()
        assert await drain == 0
    async with front(pages=Whole(bytes(MUCH))) as here:
        user = await ask(here, buffer=4096)
        await user.head()
        assert await here.connections.drain(0.05) == 1
        with pytest.raises(ConnectionResetError):
            await user.rest()
        user.leave()


async def test_the_drain_does_not_wait_for_a_page_without_an_end() -> None:
    async with front(pages=Pieces(b"one", waits=True)) as here:
        user = await ask(here)
        await user.head()
        await user.receive(8)
        assert await here.connections.drain(SECONDS) == 0
        user.leave()
