"""Plain HTTP on a user's connection, over a real socket, with a fake exit behind it."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest

from pog.errors import Failure, FailureKind
from pog.net.address import parse_destination
from tests.client.support import SECONDS, Front, MemoryTunnel, User, connect_head, front
from tests.client.test_connection import ILYA
from tests.helpers.user import basic

if TYPE_CHECKING:
    from collections.abc import Callable

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
REFUSED = Failure(FailureKind.REFUSED, "refused")


@pytest.fixture(autouse=True)
def kept_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that what closes a tunnel is not the time."""
    monkeypatch.setattr("pog.client.kept.KEPT_FOR", 60.0)


def get(path: str = "", *fields: str, host: str = "h", method: str = "GET") -> bytes:
    return "\r\n".join([f"{method} http://{host}/{path} HTTP/1.1", f"Host: {host}", *fields, "", ""]).encode()


def origin_form(path: str = "", host: str = "h", method: str = "GET") -> bytes:
    return f"{method} /{path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(SECONDS):
        while not condition():  # noqa: ASYNC110  # what is waited for has no event
            await asyncio.sleep(0.001)


async def kept_early(here: Front) -> None:
    """Waits until the client has something of its one user for a tunnel that is not open."""
    (connection,) = here.connections._connections
    exchanges = connection._exchanges
    assert exchanges is not None
    await until(lambda: bool(exchanges._early))


async def exchange(here: Front, user: User, request: bytes, content: bytes = b"ok") -> MemoryTunnel:
    """One whole exchange on a tunnel of its own, which is kept."""
    user.send(request)
    tunnel = (await here.exit.asked()).open()
    tunnel.down.data_received(OK + content)
    assert (await user.plain())[2] == content
    tunnel.written.clear()
    return tunnel


async def test_one_request_after_another_to_the_same_host_shares_a_tunnel() -> None:
    async with front() as here:
        user = await here.user()
        user.send(get("1"))
        asked = await here.exit.asked()
        assert asked.request.destination == parse_destination("h:80")
        tunnel = asked.open()
        assert tunnel.written == origin_form("1")
        assert here.metric("tunnelling_connections_total") == 1
        tunnel.down.data_received(OK + b"1")
        tunnel.down.data_received(b"1")
        assert await user.plain() == (200, {"content-length": "2"}, b"11")
        tunnel.written.clear()
        user.send(get("2", "Content-Length: 3", method="POST") + b"abc")
        await tunnel.until(written=1)
        assert tunnel.written.endswith(b"Content-Length: 3\r\n\r\nabc")
        tunnel.down.data_received(memoryview(OK + b"22"))  # type: ignore[arg-type]  # as a lane does
        assert (await user.plain())[2] == b"22"
        user.leave()
        await here.gone()
        assert tunnel.closed
        assert here.metric("tunnels_opened_total") == 1
        assert here.metric("tunnelling_connections_total") == 0
        assert here.metric("tunnels_ended_total", by="user", reason="done") == 1
        assert here.lines.count("pog: h:80 anonymous HTTP 127.0.0.1:") == 1


async def test_requests_to_different_hosts_share_the_users_connection() -> None:
    async with front() as here:
        user = await here.user()
        tunnels = [await exchange(here, user, get(host=host)) for host in ("a", "b:81")]
        for host, tunnel in (("a", tunnels[0]), ("b:81", tunnels[1]), ("a", tunnels[0])):
            user.send(get("again", host=host))
            await tunnel.until(written=1)
            assert tunnel.written == origin_form("again", host)
            tunnel.down.data_received(OK + b"ok")
            assert (await user.plain())[0] == 200
            tunnel.written.clear()
        user.leave()
        await here.gone()
        assert all(tunnel.closed for tunnel in tunnels)
        assert here.metric("tunnels_opened_total") == 2


async def test_pipelined_requests_are_answered_in_order() -> None:
    async with front() as here:
        user = await here.user()
        user.send(b"".join(get(str(i), host=f"h{i % 2}") for i in range(6)))
        tunnels = [(await here.exit.asked()).open()]
        for i in range(6):
            tunnel = tunnels[i % 2]
            await tunnel.until(written=1)
            assert tunnel.written == origin_form(str(i), f"h{i % 2}")
            tunnel.written.clear()
            tunnel.down.data_received(OK + b"%02d" % i)
            if i == 0:
                tunnels.append((await here.exit.asked()).open())
        for i in range(6):
            assert (await user.plain())[2] == b"%02d" % i
        user.leave()
        await here.gone()


async def test_first_bytes_do_not_wait_for_a_content() -> None:
    async with front() as here:
        user = await here.user()
        user.send(get("", "Content-Length: 1000000", method="POST") + b"first")
        tunnel = (await here.exit.asked()).open()
        assert tunnel.written.endswith(b"\r\n\r\nfirst")
        tunnel.down.data_received(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nf")
        assert await user.head() == b"HTTP/1.1 100 Continue"
        assert b"200 OK" in await user.head()
        assert await user.receive(1) == b"f"
        user.reset()
        await tunnel.until(aborted=True)
        await here.gone()
        assert here.metric("tunnels_ended_total", by="user", reason="reset") == 1


async def test_a_refusal_is_answered_and_the_connection_goes_on() -> None:
    async with front() as here:
        user = await here.user()
        user.send(get() + get(method="HEAD"))
        (await here.exit.asked()).answer(Failure(FailureKind.DNS, "no address"))
        status, fields, body = await user.plain()
        assert (status, body) == (502, b"no address\n")
        assert fields["proxy-status"] == 'pog; error=dns_error; details="no address"'
        assert "connection" not in fields
        (await here.exit.asked()).answer(REFUSED)
        assert (await user.plain("HEAD"))[0] == 502
        await exchange(here, user, get())
        user.leave()
        await here.gone()
        assert here.lines.count("] 502\n") == 2


async def test_what_came_while_a_tunnel_was_refused_is_the_next_request() -> None:
    async with front() as here:
        user = await here.user()
        user.send(get("1", "Content-Length: 4", method="POST") + b"ab")
        asked = await here.exit.asked()
        user.send(b"cd" + get("2"))
        await kept_early(here)
        asked.answer(REFUSED)
        assert (await user.plain())[0] == 502
        tunnel = (await here.exit.asked()).open()
        assert tunnel.written == origin_form("2")
        tunnel.down.data_received(OK + b"ok")
        assert (await user.plain())[2] == b"ok"
        user.leave()
        await here.gone()


async def test_credentials_come_with_each_request() -> None:
    async with front(auth=[ILYA]) as here:
        user = await here.user()
        for wrong in ((), (f"Proxy-Authorization: {basic('ilya', 'wrong')}",)):
            user.send(get("", *wrong))
            status, fields, _ = await user.plain()
            assert status == 407
            assert fields["proxy-authenticate"].startswith("Basic ")
            assert "connection" not in fields
        right = f"Proxy-Authorization: {basic('ilya', 'secret')}"
        tunnel = await exchange(here, user, get("", right))
        user.send(get("", right))
        await tunnel.until(written=1)
        assert tunnel.written == origin_form()
        tunnel.down.data_received(OK + b"ok")
        assert (await user.plain())[0] == 200
        user.send(get())
        assert (await user.plain())[0] == 407, "a tunnel that is kept opens nothing to somebody else"
        user.leave()
        await here.gone()
        assert here.lines.count("pog: h:80 ilya ") == 1


async def test_over_the_limit_of_tunnels() -> None:
    async with front(max_tunnels=1) as here:
        first, user = await here.user(), await here.user()
        await exchange(here, first, get())
        user.send(get())
        assert (await user.plain())[0] == 503
        first.leave()
        await until(lambda: here.metric("tunnelling_connections_total") == 0)
        await exchange(here, user, get())
        user.leave()
        await here.gone()


async def test_a_user_of_http_1_0_and_one_that_asks_for_it_are_closed_after_the_answer() -> None:
    async with front() as here:
        for request in (get().replace(b"HTTP/1.1", b"HTTP/1.0"), get("", "Connection: close")):
            user = await here.user()
            user.send(request)
            tunnel = (await here.exit.asked()).open()
            tunnel.down.data_received(OK + b"ok")
            status, fields, body = await user.answer()
            assert (status, fields["connection"], body) == (200, "close", b"ok")
            await tunnel.until(closed=True)
        await here.gone()


async def test_an_answer_that_ends_with_the_connection() -> None:
    async with front() as here:
        user = await here.user()
        user.send(get())
        tunnel = (await here.exit.asked()).open()
        tunnel.down.data_received(b"HTTP/1.0 200 OK\r\n\r\nsome")
        tunnel.down.data_received(b" more")
        tunnel.down.eof_received()
        assert await user.answer() == (200, {"connection": "close"}, b"some more")
        await here.gone()
        assert here.metric("tunnels_ended_total", by="server", reason="done") == 1


async def test_an_answer_that_is_cut_short_is_a_reset() -> None:
    for cut in ("eof", "lost"):
        async with front() as here:
            user = await here.user()
            user.send(get())
            tunnel = (await here.exit.asked()).open()
            tunnel.down.data_received(OK + b"o")
            assert await user.receive(len(OK) + 1)
            if cut == "eof":
                tunnel.down.eof_received()
            else:
                tunnel.down.connection_lost(OSError("gone"))
            with pytest.raises(ConnectionResetError):
                await user.rest()
            user.leave()
            await here.gone()


@pytest.mark.parametrize(
    ("how", "status", "text"),
    [
        ("eof", 502, b"h:80 closed the connection before it answered\n"),
        ("lost", 502, b"h:80 closed the connection before it answered: gone\n"),
        ("greeting", 502, b"h:80 sent a malformed answer: not an answer of HTTP/1\n"),
        ("both lengths", 502, b"Content-Length and Transfer-Encoding in one message\n"),
    ],
)
async def test_an_answer_that_is_none(how: str, status: int, text: bytes) -> None:
    async with front() as here:
        user = await here.user()
        user.send(get())
        tunnel = (await here.exit.asked()).open()
        if how == "eof":
            tunnel.down.eof_received()
        elif how == "lost":
            tunnel.down.connection_lost(OSError("gone"))
        elif how == "greeting":
            tunnel.down.data_received(b"SSH-2.0-x\r\n")
        else:
            tunnel.down.data_received(OK[:-2] + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
        code, fields, body = await user.plain()
        assert code == status
        assert body.endswith(text)
        assert fields["proxy-status"].startswith("pog; error=")
        await exchange(here, user, get())
        user.leave()
        await here.gone()
        assert [line[-4:] for line in here.lines.splitlines()] == [" 200", " 502", " 200"]
        assert here.lines.count("pog: h:80 anonymous HTTP ") == 3


async def test_silence_of_the_origin_is_answered_in_time() -> None:
    async with front(idle_timeout=0.05) as here:
        user = await here.user()
        user.send(get())
        tunnel = (await here.exit.asked()).open()
        assert (await user.plain())[0] == 504
        assert tunnel.aborted
        user.leave()
        await here.gone()
        assert here.metric("tunnels_ended_total", by="pog", reason="idle") == 1


# Tunnels that are kept.


@pytest.mark.parametrize("event", ["eof", "lost", "data"])
async def test_a_kept_tunnel_with_a_sign_of_life_is_used_no_more(event: str) -> None:
    async with front() as here:
        user = await here.user()
        tunnel = await exchange(here, user, get())
        if event == "eof":
            tunnel.down.eof_received()
        elif event == "lost":
            tunnel.down.connection_lost(OSError("gone"))
        else:
            tunnel.down.data_received(b"HTTP/1.1 408 Too late\r\n\r\n")
        await tunnel.until(closed=event != "lost")
        await exchange(here, user, get())
        user.leave()
        await here.gone()
        assert here.metric("tunnelling_connections_total") == 0


async def test_unasked_bytes_behind_an_answer_do_not_reach_the_user() -> None:
    async with front() as here:
        user = await here.user()
        user.send(get())
        tunnel = (await here.exit.asked()).open()
        tunnel.down.data_received(OK + b"okHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison")
        assert (await user.plain())[2] == b"ok"
        await tunnel.until(closed=True)
        await exchange(here, user, get(), b"go")
        user.leave()
        await here.gone()


@pytest.mark.parametrize("cut", ["eof", "lost"])
async def test_a_request_that_meets_a_kept_tunnel_as_it_closes_goes_again(cut: str) -> None:
    async with front() as here:
        user = await here.user()
        first = await exchange(here, user, get())
        user.send(get("2", "Content-Length: 4", method="PUT") + b"ab")
        await first.until(written=1)
        if cut == "eof":
            first.down.eof_received()
        else:
            first.down.connection_lost(OSError("gone"))
        asked = await here.exit.asked()
        user.send(b"cd")
        await asyncio.sleep(0)
        second = asked.open()
        await second.until(written=len(origin_form("2", method="PUT")) + 23)
        assert second.written.endswith(b"\r\n\r\nabcd")
        second.down.data_received(OK + b"ok")
        assert (await user.plain())[0] == 200
        user.send(get("3"))
        await second.until(written=len(second.written) + 1)
        second.down.eof_received()
        third = (await here.exit.asked()).open()
        third.down.eof_received()
        assert (await user.plain())[0] == 502, "once is enough"
        user.leave()
        await here.gone()


async def test_a_request_that_may_have_been_served_does_not_go_again() -> None:
    async with front() as here:
        user = await here.user()
        for method, begun in (("POST", b""), ("GET", b"HTTP/1.1 200")):
            tunnel = await exchange(here, user, get())
            user.send(get("2", "Content-Length: 0", method=method))
            await tunnel.until(written=1)
            if begun:
                tunnel.down.data_received(begun)
            tunnel.down.eof_received()
            assert (await user.plain())[0] == 502
            assert not here.exit.is_waiting
        user.leave()
        await here.gone()


async def test_a_request_that_cannot_go_again_gets_a_tunnel_that_is_surely_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pog.client.kept._SURELY_OPEN", 0.0)
    async with front() as here:
        user = await here.user()
        first = await exchange(here, user, get())
        await exchange(here, user, get(method="POST"))
        assert not first.written
        await first.until(closed=True)
        user.leave()
        await here.gone()


async def test_tunnels_are_kept_for_some_time_and_only_some_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pog.client.kept.KEPT_FOR", 0.2)
    async with front() as here:
        user = await here.user()
        tunnels = [await exchange(here, user, get(host=f"h{i}")) for i in range(5)]
        await tunnels[0].until(closed=True)
        for tunnel in tunnels[1:]:
            await tunnel.until(closed=True)
        await until(lambda: here.metric("tunnelling_connections_total") == 0)
        await exchange(here, user, get())
        user.leave()
        await here.gone()


# The user.


async def test_a_user_who_leaves_while_the_tunnel_opens() -> None:
    async with front() as here:
        user = await here.user()
        user.send(get())
        asked = await here.exit.asked()
        user.reset()
        async with asyncio.timeout(SECONDS):
            await asked.cancelled.wait()
        await here.gone()
        assert here.lines.endswith("] 499\n")


async def test_a_user_who_has_stopped_sending_gets_all_its_answers() -> None:
    async with front() as here:
        user = await here.user()
        user.send(get("1") + get("2"))
        user.send_eof()
        tunnel = (await here.exit.asked()).open()
        for i in range(2):
            await tunnel.until(written=1)
            tunnel.written.clear()
            tunnel.down.data_received(OK + b"%02d" % i)
        assert await user.rest() == OK + b"00" + OK + b"01"
        assert not tunnel.eof_written, "an origin may take that for a user who left"
        user.leave()
        await here.gone()


async def test_a_content_that_comes_whole_before_the_tunnel_is_open() -> None:
    async with front() as here:
        user = await here.user()
        user.send(get("", "Content-Length: 4", method="POST"))
        asked = await here.exit.asked()
        user.send(b"abcd")
        user.send_eof()
        await kept_early(here)
        tunnel = asked.open()
        await tunnel.until(written=1)
        assert tunnel.written.endswith(b"\r\n\r\nabcd")
        tunnel.down.data_received(OK + b"ok")
        assert await user.rest() == OK + b"ok"
        user.leave()
        await here.gone()


@pytest.mark.parametrize("opened", [False, True])
async def test_a_user_who_ends_in_the_middle_of_its_request_has_left(opened: bool) -> None:
    async with front() as here:
        user = await here.user()
        user.send(get("", "Content-Length: 4", method="POST"))
        asked = await here.exit.asked()
        if opened:
            tunnel = asked.open()
        user.send(b"ab")
        user.send_eof()
        if not opened:
            await kept_early(here)
            tunnel = asked.open()
        await tunnel.until(aborted=True)
        with contextlib.suppress(ConnectionResetError):
            assert await user.rest() == b""
        user.leave()
        await here.gone()


async def test_a_silent_user_who_may_have_left_is_not_waited_for() -> None:
    async with front(half_close_timeout=0.05) as here:
        user = await here.user()
        user.send(get())
        tunnel = (await here.exit.asked()).open()
        user.send_eof()
        await tunnel.until(aborted=True)
        with pytest.raises(ConnectionResetError):
            await user.rest()
        user.leave()
        await here.gone()


async def test_a_bad_chunk_in_the_middle_is_answered_and_ends_both() -> None:
    async with front() as here:
        user = await here.user()
        user.send(get("", "Transfer-Encoding: chunked", method="POST"))
        tunnel = (await here.exit.asked()).open()
        user.send(b"0x5\r\nhello")
        assert (await user.answer())[0] == 400
        assert tunnel.aborted
        assert not tunnel.written.endswith(b"hello")
        await here.gone()


# Back pressure.


async def test_a_user_who_reads_nothing_stops_the_tunnel() -> None:
    async with front() as here:
        user = await here.user()
        user.writer.transport.pause_reading()  # type: ignore[attr-defined]  # a read transport as well
        user.send(get())
        tunnel = (await here.exit.asked()).open()
        size = 0
        tunnel.down.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        while tunnel.reading:
            tunnel.down.data_received(bytes(100_000))
            size += 100_000
            await asyncio.sleep(0)
        assert size < 20_000_000
        user.writer.transport.resume_reading()  # type: ignore[attr-defined]
        await user.head()
        await user.receive(size)
        await until(lambda: tunnel.reading)
        user.reset()
        await tunnel.until(aborted=True)
        await here.gone()


async def test_a_user_who_takes_no_more_stops_the_next_answer_too() -> None:
    async with front() as here:
        user = await here.user()
        user.writer.transport.pause_reading()  # type: ignore[attr-defined]
        user.send(get(host="a") + get(host="b"))
        first = (await here.exit.asked()).open()
        size = 20_000_000
        first.down.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + bytes(size))
        # The answer is through, though the user has not taken it; so the next request waits.
        assert first.reading, "a tunnel that waits is read, to see its end"
        await asyncio.sleep(0.05)
        assert not here.exit.is_waiting
        user.writer.transport.resume_reading()  # type: ignore[attr-defined]
        await user.head()
        await user.receive(size)
        second = (await here.exit.asked()).open()
        second.down.data_received(OK + b"ok")
        assert (await user.plain())[2] == b"ok"
        user.leave()
        await here.gone()


async def test_a_user_who_took_no_more_while_its_tunnel_opened() -> None:
    async with front() as here:
        user = await here.user()
        await exchange(here, user, get(host="other"))
        user.send(get())
        asked = await here.exit.asked()
        (connection,) = here.connections._connections
        connection.pause_writing()
        tunnel = asked.open()
        assert not tunnel.reading
        connection.resume_writing()
        assert tunnel.reading
        tunnel.down.data_received(OK + b"ok")
        await user.plain()
        user.leave()
        await here.gone()


async def test_many_small_pieces_for_a_slow_reader_stop_the_tunnel_early() -> None:
    """Each that a socket has to keep costs a kilobyte, so their number counts."""
    async with front() as here:
        user = await here.user()
        user.writer.transport.pause_reading()  # type: ignore[attr-defined]  # a read transport as well
        user.send(get())
        tunnel = (await here.exit.asked()).open()
        tunnel.down.data_received(b"HTTP/1.0 200 OK\r\n\r\n")
        size = 0
        while tunnel.reading:  # as much as the system takes
            tunnel.down.data_received(bytes(100_000))
            size += 100_000
            await asyncio.sleep(0)
        pieces = 3000
        for _ in range(pieces):
            tunnel.down.data_received(b"x")
        user.writer.transport.resume_reading()  # type: ignore[attr-defined]
        await user.head()
        await user.receive(size + pieces)
        await until(lambda: tunnel.reading)
        tunnel.down.eof_received()
        assert await user.rest() == b""
        user.leave()
        await here.gone()


async def test_a_slow_reader_gets_the_rest_of_a_last_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pog.client.connection.LINGER", 0.05)
    async with front() as here:
        user = await here.user()
        user.writer.transport.pause_reading()  # type: ignore[attr-defined]
        user.send(get("", "Connection: close"))
        tunnel = (await here.exit.asked()).open()
        content = bytes(20_000_000)
        tunnel.down.data_received(b"HTTP/1.0 200 OK\r\n\r\n" + content)
        tunnel.down.eof_received()
        await asyncio.sleep(0.2)
        user.writer.transport.resume_reading()  # type: ignore[attr-defined]
        await user.head()
        assert await user.rest() == content
        await here.gone()
        user.leave()


async def test_one_who_takes_nothing_of_a_last_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pog.client.connection.NO_PROGRESS_TIMEOUT", 0.05)
    async with front() as here:
        user = await here.user()
        user.writer.transport.pause_reading()  # type: ignore[attr-defined]
        user.send(get("", "Connection: close"))
        tunnel = (await here.exit.asked()).open()
        tunnel.down.data_received(b"HTTP/1.0 200 OK\r\n\r\n" + bytes(20_000_000))
        tunnel.down.eof_received()
        await here.gone()
        user.leave()


async def test_a_full_tunnel_stops_the_user() -> None:
    async with front() as here:
        user = await here.user()
        user.writer.transport.set_write_buffer_limits(0)
        user.send(get("", "Content-Length: 100000000", method="POST"))
        tunnel = (await here.exit.asked()).open()
        tunnel.down.pause_writing()
        user.send(bytes(20_000_000))
        sent = asyncio.create_task(user.writer.drain())
        done, _ = await asyncio.wait({sent}, timeout=0.2)
        assert not done
        assert len(tunnel.written) < 1_000_000
        tunnel.down.resume_writing()
        await sent
        await tunnel.until(written=20_000_000)
        user.reset()
        await tunnel.until(aborted=True)
        await here.gone()


async def test_much_that_is_pipelined_stays_with_the_user() -> None:
    async with front() as here:
        user = await here.user()
        user.writer.transport.set_write_buffer_limits(0)
        user.send(get() * 400_000)
        tunnel = (await here.exit.asked()).open()
        sent = asyncio.create_task(user.writer.drain())
        for _ in range(100):
            await tunnel.until(written=1)
            tunnel.written.clear()
            tunnel.down.data_received(OK + b"ok")
            assert (await user.plain())[0] == 200
        done, _ = await asyncio.wait({sent}, timeout=0.2)
        assert not done
        user.reset()
        sent.cancel()
        # Who is not read is known to have left when the next answer is written.
        while not tunnel.is_closing():
            tunnel.down.data_received(OK + b"ok")
            await asyncio.sleep(0.01)
        await here.gone()


async def test_a_thousand_requests_that_fail_at_once() -> None:
    async with front() as here:
        here.exit.failure = REFUSED
        user = await here.user()
        user.send(get() * 1000)
        for _ in range(1000):
            assert (await user.plain())[0] == 502
        user.leave()
        await here.gone()


async def test_answers_that_nobody_reads_stop_the_requests() -> None:
    async with front() as here:
        here.exit.failure = REFUSED
        user = await here.user()
        user.writer.transport.pause_reading()  # type: ignore[attr-defined]
        user.writer.transport.set_write_buffer_limits(0)
        user.send(get() * 400_000)
        sent = asyncio.create_task(user.writer.drain())
        refused = -1.0
        while (now := here.metric("tunnels_refused_total", code="502")) != refused:
            refused = now
            await asyncio.sleep(0.2)
        assert not sent.done()
        user.reset()
        sent.cancel()
        await here.gone()


# What may follow.

WEBSOCKET = ("Connection: Upgrade", "Upgrade: websocket")
SWITCHED = b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"


async def test_an_upgrade_gives_the_tunnel_to_the_user() -> None:
    async with front() as here:
        user = await here.user()
        kept = await exchange(here, user, get(host="other"))
        user.send(get("", *WEBSOCKET) + b"early ")
        tunnel = (await here.exit.asked()).open()
        tunnel.written.clear()
        tunnel.down.data_received(SWITCHED + b"hello")
        assert (await user.head()).startswith(b"HTTP/1.1 101 ")
        assert await user.receive(5) == b"hello"
        assert tunnel.written == b"early "
        assert kept.closed
        user.send(b"frames")
        await tunnel.until(written=12)
        user.send_eof()
        await tunnel.until(eof=True)
        tunnel.down.data_received(b"bye")
        tunnel.down.eof_received()
        assert await user.rest() == b"bye"
        user.leave()
        await here.gone()
        assert here.metric("tunnels_ended_total", by="user", reason="done") == 2
        assert here.metric("tunnelling_connections_total") == 0


async def test_much_that_is_sent_behind_an_upgrade_arrives() -> None:
    """More than is read of a user while its request is answered."""
    async with front() as here:
        user = await here.user()
        user.send(get("", *WEBSOCKET) + bytes(1_000_000))
        tunnel = (await here.exit.asked()).open()
        tunnel.written.clear()
        await until(lambda: not user.writer.transport.get_write_buffer_size())
        tunnel.down.data_received(SWITCHED)
        await tunnel.until(written=1_000_000)
        user.reset()
        await tunnel.until(aborted=True)
        await here.gone()


async def test_a_kept_tunnel_that_ends_behind_an_upgraded_one_is_waited_for() -> None:
    async with front() as here:
        user = await here.user()
        kept = await exchange(here, user, get(host="other"))
        kept.close = lambda: None  # type: ignore[method-assign]  # it has still to send something
        user.send(get("", *WEBSOCKET))
        tunnel = (await here.exit.asked()).open()
        tunnel.down.data_received(SWITCHED)
        await user.head()
        user.reset()
        await tunnel.until(aborted=True)
        assert here.connections._connections
        kept.down.connection_lost(None)
        assert not here.connections._connections


async def test_back_pressure_survives_an_upgrade() -> None:
    async with front() as here:
        user = await here.user()
        user.writer.transport.set_write_buffer_limits(0)
        user.send(get("", *WEBSOCKET))
        tunnel = (await here.exit.asked()).open()
        tunnel.down.pause_writing()
        tunnel.down.data_received(SWITCHED)
        await user.head()
        user.send(bytes(20_000_000))
        sent = asyncio.create_task(user.writer.drain())
        done, _ = await asyncio.wait({sent}, timeout=0.2)
        assert not done
        tunnel.down.resume_writing()
        await sent
        await tunnel.until(written=20_000_000)
        tunnel.down.connection_lost(OSError("gone"))
        with pytest.raises(ConnectionResetError):
            await user.rest()
        user.leave()
        await here.gone()


async def test_connect_may_follow_and_so_may_a_page() -> None:
    async with front() as here:
        user = await here.user()
        kept = await exchange(here, user, get())
        user.send(connect_head("h:443") + b"early")
        asked = await here.exit.asked()
        assert kept.closed
        tunnel = asked.open()
        assert await user.head() == b"HTTP/1.1 200 Connection established"
        assert tunnel.written == b"early"
        user.reset()
        await tunnel.until(aborted=True)
        user = await here.user()
        await exchange(here, user, get())
        user.send(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert (await user.answer())[0] == 200
        await here.gone()


async def test_the_next_request_has_its_own_time(monkeypatch: pytest.MonkeyPatch) -> None:
    async with front(head_timeout=0.2) as here:
        user = await here.user()
        await exchange(here, user, get())
        await asyncio.sleep(0.3)
        user.send(get()[:10])
        assert (await user.answer())[0] == 408
        monkeypatch.setattr("pog.client.connection._KEEP_ALIVE", 0.05)
        user = await here.user()
        await exchange(here, user, get())
        assert await user.rest() == b""
        user.leave()
        await here.gone()


async def test_the_drain_waits_for_an_exchange_and_not_for_the_next_one() -> None:
    async with front() as here:
        idle, user = await here.user(), await here.user()
        kept = await exchange(here, idle, get())
        user.send(get())
        tunnel = (await here.exit.asked()).open()
        draining = asyncio.create_task(here.connections.drain(SECONDS))
        assert await idle.rest() == b""
        await kept.until(closed=True)
        tunnel.down.data_received(OK + b"ok")
        assert await user.rest() == OK + b"ok"
        idle.leave()
        user.leave()
        assert await draining == 0


async def test_the_end_of_the_drain_cuts_an_exchange() -> None:
    async with front() as here:
        user = await here.user()
        user.send(get())
        tunnel = (await here.exit.asked()).open()
        assert await here.connections.drain(0.05) == 1
        await tunnel.until(aborted=True)
        user.leave()
        await here.gone()


async def test_an_answer_that_the_end_of_the_drain_cuts_does_not_look_complete() -> None:
    async with front() as here:
        user = await here.user()
        user.send(get())
        tunnel = (await here.exit.asked()).open()
        tunnel.down.data_received(b"HTTP/1.0 200 OK\r\n\r\nhalf")
        await user.head()
        assert await here.connections.drain(0.05) == 1
        with pytest.raises(ConnectionResetError):
            await user.rest()
        user.leave()


async def test_the_end_of_the_drain_is_the_answer_to_who_waits() -> None:
    async with front() as here:
        forwarded, opening, answered = await here.user(), await here.user(), await here.user()
        forwarded.send(get())
        await here.exit.asked()
        answered.send(get())
        (await here.exit.asked()).open()
        opening.send(connect_head("h:443"))
        await here.exit.asked()
        assert await here.connections.drain(0.05) == 3
        for user in (forwarded, opening, answered):
            status, fields, body = await user.answer()
            assert (status, body) == (503, b"pog is stopping\n")
        await here.gone()
        assert [line[-5:] for line in here.reasons] == ["pping"] * 2


async def test_via_is_a_setting() -> None:
    for via in (False, True):
        async with front(via_header=via) as here:
            user = await here.user()
            user.send(get())
            tunnel = (await here.exit.asked()).open()
            tunnel.down.data_received(OK + b"ok")
            assert ("via" in (await user.plain())[1]) is via
            assert (b"Via: 1.1 pog" in tunnel.written) is via
            user.leave()
            await here.gone()
