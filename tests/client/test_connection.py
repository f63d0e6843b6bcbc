"""One user's connection, over a real socket, with a fake exit behind it."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime

import bcrypt
import pytest

from pog.config.auth_items import AuthItem
from pog.errors import Failure, FailureKind
from pog.tunnel.ended import Ended, Reason, Side
from tests.client.support import connect_head, front
from tests.helpers.user import basic

FAR_AHEAD = datetime(2100, 1, 1, tzinfo=UTC)
ILYA = AuthItem("ilya", bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode(), FAR_AHEAD)


async def test_a_tunnel_from_the_first_byte_to_the_last() -> None:
    async with front() as here:
        user, tunnel = await here.tunnel("example.com:443")
        assert here.metric("tunnelling_connections_total") == 1
        user.send(b"ping")
        await tunnel.until(written=4)
        tunnel.down.data_received(b"pong")
        assert await user.receive(4) == b"pong"
        user.send_eof()
        await tunnel.until(eof=True)
        tunnel.down.data_received(b"bye")
        tunnel.down.eof_received()
        assert await user.rest() == b"bye"
        user.leave()
        await here.gone()
        assert tunnel.closed
        assert here.metric("tunnelling_connections_total") == 0
        assert here.metric("tunnels_opened_total") == 1
        assert here.metric("tunnels_ended_total", by="user", reason="done") == 1
        assert here.metric("tunnel_bytes_total", direction="up") == 4
        assert here.metric("tunnel_bytes_total", direction="down") == 7
        assert tunnel.ends == [Ended(Reason.DONE, Side.LOCAL, None, 4, 7)], "the exit is told how it ended"
        pattern = r"pog: example\.com:443 anonymous HTTPS 127\.0\.0\.1:\d+ \[[^ ]+\] 200\n"
        assert re.fullmatch(pattern, here.lines)


async def test_early_bytes_come_first_and_none_is_lost() -> None:
    async with front() as here:
        user = await here.user()
        user.send(connect_head("h:1") + b"behind the head,")
        asked = await here.exit.asked()
        user.send(b"during the handshake,")
        await user.writer.drain()
        tunnel = asked.open()
        assert await user.head() == b"HTTP/1.1 200 Connection established"
        user.send(b"after it")
        expected = b"behind the head,during the handshake,after it"
        await tunnel.until(written=len(expected))
        assert tunnel.written == expected
        user.leave()
        await tunnel.until(eof=True)
        tunnel.down.eof_received()
        await here.gone()


async def test_much_during_the_handshake_is_held_in_the_users_own_socket() -> None:
    much = 8 * 1024 * 1024

    async with front() as here:
        user = await here.user()
        user.writer.transport.set_write_buffer_limits(0)
        user.send(connect_head("h:1") + bytes(much))
        asked = await here.exit.asked()
        sent = asyncio.create_task(user.writer.drain())
        # What both sockets' buffers and the client hold is far less, so the rest stays with the user.
        done, _ = await asyncio.wait({sent}, timeout=0.2)
        assert not done
        tunnel = asked.open()
        await sent
        await tunnel.until(written=much)
        assert len(tunnel.written) == much
        user.reset()
        await tunnel.until(aborted=True)
        await here.gone()


@pytest.mark.parametrize("how", ["close", "reset"])
async def test_a_user_who_leaves_during_the_handshake_ends_it_at_once(how: str) -> None:
    async with front() as here:
        user = await here.user()
        user.send(connect_head("h:1"))
        asked = await here.exit.asked()
        if how == "close":
            user.leave()
        else:
            user.reset()
        async with asyncio.timeout(5):
            await asked.cancelled.wait()
        await here.gone()
        assert here.lines.endswith("] 499\n")


async def test_a_user_who_has_only_stopped_sending_still_gets_the_tunnel() -> None:
    async with front() as here:
        user = await here.user()
        user.send(connect_head("h:1") + b"whole request")
        asked = await here.exit.asked()
        user.send_eof()
        tunnel = asked.open()
        await tunnel.until(written=13, eof=True)
        assert await user.head() == b"HTTP/1.1 200 Connection established"
        tunnel.down.data_received(b"whole answer")
        tunnel.down.eof_received()
        assert await user.rest() == b"whole answer"
        user.leave()
        await here.gone()


@pytest.mark.parametrize(
    ("failure", "status", "text", "kind"),
    [
        (Failure(FailureKind.DNS, "no route"), 502, "no route", "dns_error"),
        (Failure(FailureKind.DNS, "no route", 418), 418, "no route", "dns_error"),
        (Failure(FailureKind.EXIT_UNAVAILABLE, "west: down"), 503, "west: down", "destination_unavailable"),
    ],
)
async def test_a_refusal_is_told(failure: Failure, status: int, text: str, kind: str) -> None:
    async with front() as here:
        user = await here.user()
        user.send(connect_head("h:1"))
        (await here.exit.asked()).answer(failure)
        code, fields, body = await user.answer()
        assert (code, body) == (status, f"{text}\n".encode())
        assert fields["x-proxy-over-grpc-error"] == text
        assert fields["proxy-status"] == f'pog; error={kind}; details="{text}"'
        assert fields["connection"] == "close"
        await here.gone()
        assert here.lines.endswith(f"] {status}\n")


async def test_a_bug_of_ours_is_a_500_without_details(caplog: pytest.LogCaptureFixture) -> None:
    async with front() as here:
        here.exit.bug = ZeroDivisionError("secret")
        user = await here.user()
        user.send(connect_head("h:1"))
        code, _, body = await user.answer()
        assert code == 500
        assert b"secret" not in body
        await here.gone()
    assert "ZeroDivisionError: secret" in caplog.text


@pytest.mark.parametrize(
    "fields",
    [(), ("Proxy-Authorization: Basic !",), (f"Proxy-Authorization: {basic('ilya', 'wrong')}",)],
)
async def test_without_good_credentials_407_and_a_close(fields: tuple[str, ...]) -> None:
    async with front(auth=[ILYA]) as here:
        user = await here.user()
        # What follows a rejected CONNECT is never read as a request (RFC 9931).
        user.send(connect_head("h:1", *fields) + b"GET /metrics HTTP/1.1\r\n\r\n")
        code, answered, body = await user.answer()
        assert code == 407
        assert answered["proxy-authenticate"] == 'Basic realm="CLIENT_AUTH_* list", charset="UTF-8"'
        assert answered["connection"] == "close"
        assert body.count(b"HTTP/1.1") == 0
        await here.gone()
        assert here.lines.startswith("pog: h:1 - HTTPS ")
        assert here.lines.endswith("] 407\n")


async def test_good_credentials_open_and_are_named_in_the_log() -> None:
    async with front(auth=[ILYA]) as here:
        for _ in range(2):
            user = await here.user()
            user.send(connect_head("h:1", f"Proxy-Authorization: {basic('ilya', 'secret')}"))
            tunnel = (await here.exit.asked()).open()
            assert (await user.head()).startswith(b"HTTP/1.1 200 ")
            user.leave()
            await tunnel.until(eof=True)
            tunnel.down.eof_received()
        await here.gone()
        assert here.lines.count("pog: h:1 ilya HTTPS ") == 2


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\x16\x03\x01", 400),
        (b"CONNECT nowhere HTTP/1.1\r\n\r\n", 400),
        (b"GET https://example.com/ HTTP/1.1\r\nHost: example.com\r\n\r\n", 400),
        (b"CONNECT h:1 HTTP/1.1\r\nX: " + b"x" * 65536, 431),
        (b"CONNECT h:1 HTTP/1.1\r\nX: " + b"x" * 1_000_000, 431),
    ],
)
async def test_bad_requests_get_an_answer_that_arrives(data: bytes, status: int) -> None:
    async with front() as here:
        user = await here.user()
        user.send(data)
        assert (await user.answer())[0] == status
        await here.gone()


async def test_a_slow_head_is_408_and_an_unused_connection_is_closed_in_silence() -> None:
    async with front(head_timeout=0.05) as here:
        slow, unused = await here.user(), await here.user()
        slow.send(b"CONNECT exa")
        assert (await slow.answer())[0] == 408
        assert await unused.rest() == b""
        unused.leave()
        await here.gone()


async def test_a_user_who_does_not_close_after_an_answer_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pog.client.connection.LINGER", 0.05)

    async with front() as here:
        user = await here.user()
        user.send(b"bad\r\n\r\n")
        assert b" 400 " in await user.head()
        await here.gone()
        user.leave()


async def test_a_request_that_ends_in_the_middle_leaves_nothing() -> None:
    async with front() as here:
        user = await here.user()
        user.send(b"CONNECT exa")
        user.send_eof()
        assert await user.rest() == b""
        user.leave()
        await here.gone()


async def test_a_reset_by_the_user_resets_the_tunnel() -> None:
    async with front() as here:
        user, tunnel = await here.tunnel()
        user.reset()
        await tunnel.until(aborted=True)
        await here.gone()
        assert here.metric("tunnels_ended_total", by="user", reason="reset") == 1


async def test_a_tunnel_that_breaks_resets_the_user() -> None:
    async with front() as here:
        user, tunnel = await here.tunnel()
        tunnel.down.connection_lost(OSError("gone"))
        with pytest.raises(ConnectionResetError):
            await user.rest()
        user.leave()
        await here.gone()


async def test_over_the_limit_of_tunnels_503_but_pages_are_served() -> None:
    async with front(max_tunnels=1) as here:
        first, tunnel = await here.tunnel()
        second = await here.user()
        second.send(connect_head("h:1"))
        code, fields, body = await second.answer()
        assert code == 503
        assert b"MAX_TUNNELS" in body
        assert "connection_limit_reached" in fields["proxy-status"]
        third = await here.user()
        third.send(b"GET /metrics HTTP/1.0\r\n\r\n")
        assert (await third.answer())[0] == 200
        first.reset()
        await tunnel.until(aborted=True)
        await here.gone()


async def test_drain_lets_tunnels_end_and_then_cuts_them() -> None:
    async with front() as here:
        idle = await here.user()
        user, tunnel = await here.tunnel()
        draining = asyncio.create_task(here.connections.drain(10))
        assert await idle.rest() == b""
        user.send(b"still works")
        await tunnel.until(written=11)
        user.leave()
        tunnel.down.eof_received()
        assert await draining == 0
        user, tunnel = await here.tunnel()
        opening = await here.user()
        opening.send(connect_head("h:1"))
        asked = await here.exit.asked()
        assert await here.connections.drain(0) == 2
        assert asked.cancelled.is_set()
        assert tunnel.aborted
        for each in (idle, user, opening):
            each.leave()


async def test_an_exit_that_answers_when_the_users_connection_is_closing_is_told_of_the_end() -> None:
    """A write that fails closes a socket, whose protocol learns of it in the next turn of the loop."""
    async with front() as here:
        user = await here.user()
        user.send(connect_head("origin:443"))
        asked = await here.exit.asked()
        (connection,) = here.connections._connections
        connection._transport.close()
        tunnel = asked.open()
        assert tunnel.aborted
        assert [how.reason for how in tunnel.ends] == [Reason.CANCELLED]
        await here.gone()
        user.leave()
