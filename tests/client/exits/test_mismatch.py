"""Whatever listens at a server's address, a client says what it is and what to change."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from pog.client.exits.mismatch import Peer, named
from pog.errors import ExitUnavailable, Failure, FailureKind
from pog.front.http1 import error_answer
from pog.net.address import Address
from tests.client.exits.test_connect import dial, target
from tests.client.server import serving
from tests.client.support import front

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator

    from tests.helpers.tls import Authority

SETTINGS = b"\0\0\x06\x04\0\0\0\0\0\0\x03\0\0\0\x64"


@pytest.mark.parametrize(
    ("first", "peer"),
    [
        (b"", Peer.NOTHING),
        (SETTINGS, Peer.HTTP2),
        (SETTINGS[:9], Peer.HTTP2),
        (SETTINGS[:8], Peer.OTHER),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", Peer.HTTP1),
        (error_answer(Failure(FailureKind.BAD_PROTOCOL, "no", 400)), Peer.POG_CLIENT),
        (b"\x15\x03\x01\x00\x02\x02\x46", Peer.TLS),
        (b"\x15", Peer.TLS),
        (b"SSH-2.0-OpenSSH_9.2\r\n", Peer.OTHER),
    ],
)
def test_a_peer_is_known_by_its_first_bytes(first: bytes, peer: Peer) -> None:
    assert named(first) is peer


async def refusal(address: Address, *, tls: bool, host: str = "", verify: bool = False) -> tuple[FailureKind, str]:
    with pytest.raises(ExitUnavailable) as caught:
        await dial(target(address, insecure=not tls, skip_verify=not verify, server_host=host))
    return caught.value.failure.kind, str(caught.value)


@asynccontextmanager
async def stranger(
    answer: bytes, context: ssl.SSLContext | None = None, *, read: bool = True
) -> AsyncIterator[Address]:
    """Says `answer` to whatever comes, and closes."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if read:
                await reader.read(1024)
            writer.write(answer)
            await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0, ssl=context)
    try:
        yield Address(*server.sockets[0].getsockname())
    finally:
        server.close()
        await server.wait_closed()


BAD_REQUEST = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"
# A fatal alert: unexpected_message, RFC 8446 section 6.
ALERT = b"\x15\x03\x03\x00\x02\x02\x0a"
IS_CLIENT = "a pog client listens there: SERVER_ADDR must be the address of a pog server"


@pytest.mark.loops("asyncio", "uvloop")
async def test_tls_to_a_server_in_cleartext() -> None:
    async with serving() as server:
        kind, text = await refusal(server.address, tls=True)
    assert kind is FailureKind.EXIT_MISCONFIGURED
    assert text == "the server speaks HTTP/2 in cleartext and no TLS: set INSECURE=1"


@pytest.mark.loops("asyncio", "uvloop")
async def test_cleartext_to_a_server_with_tls(authority: Authority) -> None:
    """Python's TLS closes without an alert, so it is found by asking; others say something."""
    async with serving(tls=authority.server_context("h2")) as server, stranger(ALERT) as alert:
        for address in (server.address, alert):
            kind, text = await refusal(address, tls=False)
            assert kind is FailureKind.EXIT_MISCONFIGURED
            assert text == "the server speaks TLS: leave INSECURE out"


@pytest.mark.loops("asyncio", "uvloop")
@pytest.mark.parametrize("tls", [True, False])
async def test_the_port_of_a_client(tls: bool) -> None:
    async with front() as here:
        assert await refusal(here.address, tls=tls) == (FailureKind.EXIT_MISCONFIGURED, IS_CLIENT)


@pytest.mark.loops("asyncio", "uvloop")
@pytest.mark.parametrize("alpn", [(), ("http/1.1",)])
async def test_http1_alone(authority: Authority, alpn: tuple[str, ...]) -> None:
    async with stranger(BAD_REQUEST) as cleartext, stranger(BAD_REQUEST, authority.server_context(*alpn)) as tls:
        for address, wanted, words in (
            (cleartext, False, "HTTP/1.1 only (in cleartext), gRPC needs HTTP/2"),
            (cleartext, True, "HTTP/1.1 in cleartext, neither TLS nor HTTP/2"),
            (tls, True, "HTTP/1.1 only (ALPN none), gRPC needs HTTP/2"),
            (tls, False, "TLS: leave INSECURE out"),
        ):
            kind, text = await refusal(address, tls=wanted)
            assert kind is FailureKind.EXIT_MISCONFIGURED
            assert text.startswith(f"the server speaks {words}")


@pytest.mark.parametrize(
    ("answer", "tls", "words", "kind"),
    [
        (b"SSH-2.0-x\r\n", True, "is it cleartext? INSECURE=1", FailureKind.EXIT_MISCONFIGURED),
        (b"SSH-2.0-x\r\n", False, "does not speak HTTP/2 here", FailureKind.EXIT_UNAVAILABLE),
        # A load balancer without a server behind it, say.
        (b"", True, "no TLS with the server", FailureKind.EXIT_UNAVAILABLE),
        (b"", False, "does not speak HTTP/2 here: closed by the peer", FailureKind.EXIT_UNAVAILABLE),
        (b"\0\0\x02\x04\0\0\0\0\0\0\0", False, "broke the protocol", FailureKind.EXIT_UNAVAILABLE),
    ],
)
async def test_what_cannot_be_named_may_pass(answer: bytes, tls: bool, words: str, kind: FailureKind) -> None:
    async with stranger(answer) as address:
        found, text = await refusal(address, tls=tls)
    assert words in text
    assert found is kind


@pytest.mark.loops("asyncio", "uvloop")
async def test_a_certificate_that_is_not_good_says_what_helps(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tls=authority.server_context("h2")) as server:
        kind, text = await refusal(server.address, tls=True, verify=True)
        assert kind is FailureKind.EXIT_CERTIFICATE
        assert text.startswith("the server's certificate is not good for 127.0.0.1: ")
        assert text.endswith("; an authority of your own is named by SERVER_CA_FILE")
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.ca_file))
        _, text = await refusal(server.address, tls=True, verify=True, host="pog.example")
        assert "pog.example" in text
        assert text.endswith("; SERVER_HOST may name another")
