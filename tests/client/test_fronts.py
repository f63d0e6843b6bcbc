"""Every front on one port: the first bytes decide, over a real socket, with a fake exit behind it."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import bcrypt
import pytest

from pog.config.auth_items import AuthItem
from pog.errors import Failure, FailureKind
from pog.net.address import Destination
from tests.client.support import Front, User, front

if TYPE_CHECKING:
    from tests.client.support import MemoryTunnel

ILYA = AuthItem("ilya", bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode(), datetime(2100, 1, 1, tzinfo=UTC))
NOWHERE = b"\x00\x01" + bytes(6)
NO_AUTH, LOGIN_METHOD = b"\x05\x01\x00", b"\x05\x02\x00\x02"
TO_EXAMPLE = b"\x05\x01\x00\x03\x0bexample.com\x01\xbb"
TO_EXAMPLE_4A = b"\x04\x01\x01\xbb\x00\x00\x00\x01me\x00example.com\x00"


def login(password: bytes) -> bytes:
    return b"\x01\x04ilya" + bytes((len(password),)) + password


async def used(here: Front, user: User, tunnel: MemoryTunnel, early: bytes = b"") -> None:
    """Bytes pass in both directions, and the end of it leaves nothing."""
    user.send(b"ping")
    await tunnel.until(written=len(early) + 4)
    assert bytes(tunnel.written) == early + b"ping"
    tunnel.down.data_received(b"pong")
    assert await user.receive(4) == b"pong"
    user.leave()
    await tunnel.until(eof=True)
    tunnel.down.eof_received()
    await here.gone()


def logged(here: Front) -> str:
    """The line of the access log without what differs each time."""
    return re.sub(r"127\.0\.0\.1:\d+ \[[^ ]+\]", "REMOTE", here.lines)


async def test_socks5_with_everything_in_one_segment() -> None:
    async with front() as here:
        user = await here.user()
        user.send(NO_AUTH + TO_EXAMPLE + b"early,")
        asked = await here.exit.asked()
        assert asked.request.destination == Destination("example.com", 443)
        assert (asked.request.front, asked.request.user.name) == ("socks5", "anonymous")
        tunnel = asked.open()
        assert await user.receive(12) == b"\x05\x00\x05\x00" + NOWHERE
        await used(here, user, tunnel, b"early,")
        assert logged(here) == "pog: example.com:443 anonymous SOCKS5 REMOTE 200\n"


async def test_socks5_one_byte_at_a_time() -> None:
    async with front(auth=[ILYA]) as here:
        user = await here.user()
        for byte in LOGIN_METHOD + login(b"secret") + TO_EXAMPLE:
            user.send(bytes((byte,)))
            await user.writer.drain()
        tunnel = (await here.exit.asked()).open()
        assert await user.receive(14) == b"\x05\x02\x01\x00\x05\x00" + NOWHERE
        await used(here, user, tunnel)
        assert logged(here) == "pog: example.com:443 ilya SOCKS5 REMOTE 200\n"


async def test_socks5_with_a_wrong_password() -> None:
    async with front(auth=[ILYA]) as here:
        user = await here.user()
        user.send(LOGIN_METHOD + login(b"wrong") + TO_EXAMPLE)
        assert await user.rest() == b"\x05\x02\x01\x01"
        user.leave()
        await here.gone()
        assert logged(here) == "pog: - - SOCKS5 REMOTE 407\n"
        assert here.metric("auth_failures_total") == 1
        assert here.metric("tunnels_refused_total", code="407") == 1


@pytest.mark.parametrize(
    ("sent", "answer"),
    [(NO_AUTH + TO_EXAMPLE, b"\x05\xff"), (TO_EXAMPLE_4A, b"\x00\x5b" + bytes(6))],
    ids=["socks5", "socks4a"],
)
async def test_without_a_password_there_is_no_way_in(sent: bytes, answer: bytes) -> None:
    async with front(auth=[ILYA]) as here:
        user = await here.user()
        user.send(sent)
        assert await user.rest() == answer
        user.leave()
        await here.gone()
        assert logged(here).endswith("REMOTE 407\n")
        assert [reason[:30] for reason in here.reasons] == ["407 user and password required"]


async def test_socks4a_names_its_user() -> None:
    async with front() as here:
        user = await here.user()
        user.send(TO_EXAMPLE_4A + b"early,")
        asked = await here.exit.asked()
        assert asked.request.destination == Destination("example.com", 443)
        assert (asked.request.front, asked.request.user.name) == ("socks4", "me")
        tunnel = asked.open()
        assert await user.receive(8) == b"\x00\x5a" + bytes(6)
        await used(here, user, tunnel, b"early,")
        assert logged(here) == "pog: example.com:443 me SOCKS4 REMOTE 200\n"


@pytest.mark.parametrize(
    ("kind", "reply", "status"),
    [
        (FailureKind.DENIED, 2, 403),
        (FailureKind.EXIT_UNAVAILABLE, 3, 503),
        (FailureKind.DNS, 4, 502),
        (FailureKind.REFUSED, 5, 502),
        (FailureKind.TIMEOUT, 6, 504),
        (FailureKind.LIMIT, 1, 503),
    ],
)
async def test_why_there_is_no_tunnel(kind: FailureKind, reply: int, status: int) -> None:
    async with front() as here:
        by_5, by_4 = await here.user(), await here.user()
        by_5.send(NO_AUTH + TO_EXAMPLE)
        (await here.exit.asked()).answer(Failure(kind, "why"))
        assert await by_5.rest() == b"\x05\x00\x05" + bytes((reply,)) + NOWHERE
        by_4.send(TO_EXAMPLE_4A)
        (await here.exit.asked()).answer(Failure(kind, "why"))
        assert await by_4.rest() == b"\x00\x5b" + bytes(6)
        by_4.leave()
        by_5.leave()
        await here.gone()
        assert here.metric("tunnels_refused_total", code=str(status)) == 2


@pytest.mark.parametrize(
    ("sent", "answer", "line", "words"),
    [
        (NO_AUTH + b"\x05\x03\x00\x01" + bytes(6), b"\x05\x00\x05\x07" + NOWHERE, "SOCKS5 REMOTE 501", "UDP ASSOCIATE"),
        (NO_AUTH + b"\x05\x01\x00\x02", b"\x05\x00\x05\x08" + NOWHERE, "SOCKS5 REMOTE 400", "address type 2"),
        (NO_AUTH + b"\x05\x01\x00\x03\x03a b\x00P", b"\x05\x00\x05\x01" + NOWHERE, "SOCKS5 REMOTE 400", "'a b'"),
        (b"\x04\x02\x00P\x01\x02\x03\x04\x00", b"\x00\x5b" + bytes(6), "SOCKS4 REMOTE 501", "BIND"),
        (b"\x16\x03\x01\x00\xc8\x01", None, "- REMOTE 400", "this port is not TLS"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", None, "- REMOTE 400", "this port speaks HTTP/1.1 and SOCKS"),
        (b"SSH-2.0-x\r\n", None, "- REMOTE 400", "SSH"),
        (b"\xff" * 100_000, None, "- REMOTE 400", "begins with the byte 0xff"),
        (b"CONNECT a b HTTP/1.1\r\n\r\n", None, "HTTPS REMOTE 400", "not an HTTP/1 request"),
    ],
)
async def test_what_leads_to_no_tunnel_is_one_line_of_the_log(
    sent: bytes, answer: bytes | None, line: str, words: str
) -> None:
    async with front() as here:
        user = await here.user()
        user.send(sent)
        got = await user.rest()
        assert got == answer if answer is not None else got.startswith(b"HTTP/1.1 400 ")
        user.leave()
        await here.gone()
        assert logged(here) == f"pog: - - {line}\n"
        (reason,) = here.reasons
        assert words in reason


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (b"P", b""),
        (b"\x05", b"\x05\xff"),
        (NO_AUTH, b"\x05\x00\x05\x01" + NOWHERE),
        (TO_EXAMPLE_4A[:-1], b"\x00\x5b" + bytes(6)),
    ],
)
async def test_a_slow_request_ends_as_its_protocol_says(sent: bytes, answer: bytes) -> None:
    async with front(head_timeout=0.05) as here:
        user = await here.user()
        user.send(sent)
        assert await user.rest() == answer
        user.leave()
        await here.gone()


async def test_a_user_who_leaves_in_the_middle_of_a_login() -> None:
    async with front(auth=[ILYA]) as here:
        user = await here.user()
        user.send(LOGIN_METHOD + login(b"secret"))
        assert await user.receive(2) == b"\x05\x02"
        user.reset()
        await here.gone()


@pytest.mark.parametrize(
    ("sent", "granted"),
    [
        (b"CONNECT h:1 HTTP/1.1\r\n\r\n", b"HTTP/1.1 200 Connection established\r\n\r\n"),
        (NO_AUTH + TO_EXAMPLE, b"\x05\x00\x05\x00" + NOWHERE),
        (TO_EXAMPLE_4A, b"\x00\x5a" + bytes(6)),
    ],
)
async def test_fast_open_sends_the_first_bytes_with_the_request(sent: bytes, granted: bytes) -> None:
    async with front(fast_open=True) as here:
        user = await here.user()
        user.send(sent + b"early,")
        asked = await here.exit.asked()
        assert await user.receive(len(granted)) == granted
        assert await asked.early.readexactly(6) == b"early,"
        user.send(b"later")
        assert await asked.early.readexactly(5) == b"later"
        tunnel = asked.open()
        user.send(b"ping")
        await tunnel.until(written=4)
        assert tunnel.written == b"ping", "nothing is sent twice"
        tunnel.down.data_received(b"pong")
        assert await user.receive(4) == b"pong"
        user.leave()
        await tunnel.until(eof=True)
        tunnel.down.eof_received()
        await here.gone()
        assert here.metric("tunnel_bytes_total", direction="up") == 15


async def test_fast_open_tells_a_failure_by_a_reset() -> None:
    async with front(fast_open=True) as here:
        user = await here.user()
        user.send(NO_AUTH + TO_EXAMPLE + b"early")
        asked = await here.exit.asked()
        assert await user.receive(12) == b"\x05\x00\x05\x00" + NOWHERE
        asked.answer(Failure(FailureKind.REFUSED, "nobody there"))
        with pytest.raises(ConnectionResetError):
            await user.rest()
        user.leave()
        await here.gone()
        assert logged(here) == "pog: example.com:443 anonymous SOCKS5 REMOTE 502\n"


async def test_fast_open_takes_a_bounded_part_of_what_is_sent() -> None:
    much = 8 * 1024 * 1024
    async with front(fast_open=True) as here:
        user = await here.user()
        user.writer.transport.set_write_buffer_limits(0)
        user.send(b"CONNECT h:1 HTTP/1.1\r\n\r\n" + bytes(much))
        asked = await here.exit.asked()
        sent = asyncio.create_task(user.writer.drain())
        # What both sockets' buffers and the client hold is far less, so the rest stays with the user.
        done, _ = await asyncio.wait({sent}, timeout=0.2)
        assert not done
        tunnel = asked.open()
        asked.early.feed_eof()
        first = len(await asked.early.read())
        assert 0 < first < 1024 * 1024
        await sent
        await tunnel.until(written=much - first)
        user.reset()
        await tunnel.until(aborted=True)
        await here.gone()


async def test_fast_open_asks_for_credentials_first() -> None:
    async with front(fast_open=True, auth=[ILYA]) as here:
        user = await here.user()
        user.send(b"CONNECT h:1 HTTP/1.1\r\n\r\n")
        assert (await user.answer())[0] == 407
        await here.gone()


async def test_the_end_of_the_client_resets_who_was_told_too_early() -> None:
    async with front(fast_open=True) as here:
        user = await here.user()
        user.send(NO_AUTH + TO_EXAMPLE + b"early")
        asked = await here.exit.asked()
        assert await user.receive(12) == b"\x05\x00\x05\x00" + NOWHERE
        assert await here.connections.drain(0) == 1
        with pytest.raises(ConnectionResetError):
            await user.rest()
        assert asked.cancelled.is_set()
        user.leave()
