"""TLS with users: what fails is told, what takes long is bounded, nothing is left behind."""

from __future__ import annotations

import asyncio
import socket
import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, cast

import pytest

from pog.client.handshakes import Handshakes
from pog.net.certificate import Certificate
from tests.client.support import SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.helpers.tls import Authority

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Greeting(asyncio.Protocol):
    """Says hello to every client that comes so far."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast("asyncio.Transport", transport).write(b"hello")


@asynccontextmanager
async def serving(authority: Authority, limit: float = SECONDS) -> AsyncIterator[int]:
    """Gives the port."""
    context = Certificate(str(authority.cert_file), str(authority.key_file), ["http/1.1"]).context
    handshakes = Handshakes(Greeting, context, limit)
    sock = socket.create_server(("127.0.0.1", 0))
    sock.setblocking(False)
    port: int = sock.getsockname()[1]
    server = handshakes.serve(sock)
    try:
        yield port
    finally:
        server.close()
        await handshakes.close()


async def connect(port: int, context: ssl.SSLContext | None) -> Stream:
    name = "localhost" if context else None
    return await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=name)


async def check_greeting(stream: Stream) -> None:
    reader, writer = stream
    async with asyncio.timeout(SECONDS):
        assert await reader.readexactly(5) == b"hello"
        writer.close()
        await writer.wait_closed()


async def turned_away(port: int, sent: bytes) -> None:
    reader, writer = await connect(port, None)
    writer.write(sent)
    async with asyncio.timeout(SECONDS):
        try:
            await reader.read()
        except ConnectionResetError:
            pass
    writer.close()


async def test_a_handshake_leads_to_a_connection(authority: Authority) -> None:
    async with serving(authority) as port:
        for _ in range(3):
            await check_greeting(await connect(port, authority.user_context()))


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        (b"GET http://a/ HTTP/1.1\r\n\r\n", "this endpoint is TLS; its address as a proxy begins with https://"),
        (b"CONNECT a:1 HTTP/1.1\r\n\r\n", "this endpoint is TLS; its address as a proxy begins with https://"),
        (b"\x05\x01\x00" + bytes(100), "this endpoint is TLS, and what came is not"),
    ],
)
async def test_what_is_no_tls_is_named(
    authority: Authority, caplog: pytest.LogCaptureFixture, sent: bytes, words: str
) -> None:
    async with serving(authority) as port:
        await turned_away(port, sent)
        await check_greeting(await connect(port, authority.user_context()))
    (record,) = caplog.records
    assert words in record.getMessage()
    assert record.levelname == "WARNING"


def stranger(port: int) -> None:
    """Tells why it leaves, which asyncio's own client does not."""
    with socket.create_connection(("127.0.0.1", port), SECONDS) as sock:
        ssl.create_default_context().wrap_socket(sock, server_hostname="localhost")


async def test_a_user_that_does_not_trust_us_is_named(authority: Authority, caplog: pytest.LogCaptureFixture) -> None:
    async with serving(authority) as port:
        with pytest.raises(ssl.SSLCertVerificationError):
            await asyncio.to_thread(stranger, port)
        await check_greeting(await connect(port, authority.user_context()))
    assert "failed: tlsv1 alert unknown ca" in caplog.text


async def test_who_leaves_without_a_word_is_no_line(authority: Authority, caplog: pytest.LogCaptureFixture) -> None:
    async with serving(authority) as port:
        _, writer = await connect(port, None)
        writer.close()
        await check_greeting(await connect(port, authority.user_context()))
    assert not caplog.records


async def test_a_handshake_that_does_not_come_ends(authority: Authority) -> None:
    async with serving(authority, limit=0.05) as port:
        await turned_away(port, b"")


async def test_handshakes_under_way_have_a_limit(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pog.client.handshakes._LIMIT", 2)
    async with serving(authority) as port:
        silent = [await connect(port, None) for _ in range(2)]
        third = asyncio.create_task(connect(port, authority.user_context()), name="third")
        done, _ = await asyncio.wait({third}, timeout=0.1)
        assert not done
        silent[0][1].close()
        await check_greeting(await third)
        await check_greeting(await connect(port, authority.user_context()))
        silent[1][1].close()


async def test_the_end_breaks_off_what_is_under_way(authority: Authority) -> None:
    async with serving(authority) as port:
        streams = [await connect(port, None) for _ in range(3)]
        await check_greeting(await connect(port, authority.user_context()))
    for reader, writer in streams:
        async with asyncio.timeout(SECONDS):
            try:
                assert await reader.read() == b""
            except ConnectionResetError:
                pass
        writer.close()


async def test_an_accept_that_fails_is_told_and_tried_again(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: asyncio.Queue[tuple[object, ...]] = asyncio.Queue()
    monkeypatch.setattr("pog.client.handshakes.log.error", lambda *said: told.put_nowait(said))
    monkeypatch.setattr("pog.client.handshakes._RECOVERY", 0.01)
    context = Certificate(str(authority.cert_file), str(authority.key_file), []).context
    handshakes = Handshakes(Greeting, context, SECONDS)
    deaf = socket.socket()
    deaf.bind(("127.0.0.1", 0))
    deaf.setblocking(False)
    server = handshakes.serve(deaf)
    async with asyncio.timeout(SECONDS):
        assert "cannot accept a connection: %s" in (await told.get())
        deaf.listen()
        await check_greeting(await connect(deaf.getsockname()[1], authority.user_context()))
    server.close()
    await handshakes.close()
    assert deaf.fileno() == -1


async def test_an_end_before_the_beginning_leaves_no_socket(authority: Authority) -> None:
    handshakes = Handshakes(Greeting, ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), SECONDS)
    sock = socket.create_server(("127.0.0.1", 0))
    handshakes.serve(sock).close()
    await handshakes.close()
    assert sock.fileno() == -1
