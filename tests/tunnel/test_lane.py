"""The lane over two sessions back to back: bytes, half-close, back pressure, and every way a tunnel ends."""

from __future__ import annotations

import asyncio
import gc
import time
import tracemalloc
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from grpclib.const import Status
from h2.errors import ErrorCodes

from pog.errors import CallFailed, ConnectionLost, ProtocolViolation, TunnelReset
from pog.http2.config import SessionConfig
from pog.http2.stream import Stream
from pog.proto.grpcproxy_pb2 import ConnectRequest, Packet
from pog.tunnel.lane import LaneTransport
from pog.wire import encode
from tests.http2.factory import REQUEST, RESPONSE, TRAILERS
from tests.http2.memory import Sessions, settle, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pog.http2.session import Session

KIB = 1024
SMALL = SessionConfig(stream_window=64 * KIB, stream_window_ceiling=64 * KIB)


class Tape(asyncio.Protocol):
    """Records what a transport tells its protocol."""

    def __init__(self, *, stay: bool = True, stop_after: int | None = None) -> None:
        self.stay = stay
        self.stop_after = stop_after
        self.data = b""
        self.calls: list[str] = []
        self.error: Exception | None = None
        self.transport: asyncio.Transport | None = None

    def data_received(self, data: bytes) -> None:
        assert not self.calls or self.calls[-1] not in ("eof", "lost")
        self.data += bytes(data)
        if self.stop_after is not None and len(self.data) >= self.stop_after:
            assert self.transport is not None
            self.transport.pause_reading()

    def eof_received(self) -> bool:
        self.calls.append("eof")
        return self.stay

    def connection_lost(self, exc: Exception | None) -> None:
        self.calls.append("lost")
        self.error = exc

    def pause_writing(self) -> None:
        self.calls.append("pause")

    def resume_writing(self) -> None:
        self.calls.append("resume")


class Tunnel:
    """Both ends of one tunnel, after the handshake."""

    def __init__(self, sessions: Sessions, stream: Stream, request: Stream, *, half_close: bool = True) -> None:
        self.sessions, self.stream, self.request = sessions, stream, request
        self.client = LaneTransport(stream, half_close=half_close)
        self.server = LaneTransport(request, half_close=half_close)
        self.user, self.destination = Tape(), Tape()

    def start(self) -> None:
        for transport, tape in ((self.client, self.user), (self.server, self.destination)):
            tape.transport = transport
            transport.set_protocol(tape)

    async def end(self, status: str = "0", message: str = "") -> None:
        """What a handler's return does."""
        await self.request.send_headers([("grpc-status", status), ("grpc-message", message)], end_stream=True)


async def tunnel(config: SessionConfig | None = None, *, half_close: bool = True) -> Tunnel:
    sessions = Sessions(client=config, server=config)
    stream, request = await sessions.call(REQUEST)
    await request.send_headers(RESPONSE)
    made = Tunnel(sessions, stream, request, half_close=half_close)
    made.start()
    return made


async def test_bytes_go_both_ways_and_each_direction_ends_by_itself() -> None:
    made = await tunnel()
    made.client.write(b"up ")
    made.client.writelines([b"and ", memoryview(b"up")])
    made.server.write(b"down")
    made.client.write_eof()
    await until(lambda: made.destination.calls == ["eof"])
    assert made.destination.data == b"up and up"
    made.server.write(b" still")
    made.server.write_eof()
    await until(lambda: made.user.calls == ["eof"])
    assert made.user.data == b"down still"
    made.server.close()
    await made.end()
    await until(lambda: made.user.calls == ["eof", "lost"])
    assert made.user.error is None
    assert made.destination.calls == ["eof", "lost"]
    assert not made.sessions.client.streams.open
    assert not made.sessions.server.streams.open
    assert made.sessions.budget.used == 0


async def test_a_server_may_end_first_and_the_user_go_on() -> None:
    made = await tunnel()
    made.server.write(b"bye")
    made.server.write_eof()
    await until(lambda: made.user.calls == ["eof"])
    made.client.write(b"more")
    await until(lambda: made.destination.data == b"more")


async def test_towards_the_original_a_server_cannot_say_its_end() -> None:
    made = await tunnel(half_close=False)
    assert made.client.can_write_eof()
    assert not made.server.can_write_eof()
    made.server.write_eof()
    await settle()
    assert made.user.calls == []
    await made.end()
    await until(lambda: made.user.calls == ["eof", "lost"])
    assert made.user.error is None


async def test_what_the_handshake_left_unread_comes_first() -> None:
    sessions = Sessions()
    stream, request = await sessions.call(REQUEST)
    made = Tunnel(sessions, stream, request)
    hello = encode.message(Packet(connect_request=ConnectRequest(host_port="a:1")))
    content = [hello, *encode.payload(b"early"), *encode.payload(b" bird")]
    stream.write(content, sum(map(len, content)))
    assert await request.recv_data(len(hello)) == hello
    made.start()
    made.client.write(b" sings")
    await until(lambda: len(made.destination.data) == 16)
    assert made.destination.data == b"early bird sings"


async def test_a_rule_broken_before_the_tunnel_is_open_breaks_it_all_the_same() -> None:
    sessions = Sessions()
    stream, request = await sessions.call(REQUEST)
    content = encode.HALF_CLOSE + encode.message(Packet(payload=b"more"))
    stream.write([content], len(content))
    await until(lambda: request.buffered == len(content))
    made = Tunnel(sessions, stream, request)
    made.start()
    await until(lambda: "lost" in made.destination.calls)
    assert isinstance(made.destination.error, ProtocolViolation)
    assert sessions.budget.used == 0


@pytest.mark.parametrize("size", [1, 100, 20_000, 3_000_000])
async def test_a_reader_that_stops_stops_the_writer_and_loses_nothing(size: int) -> None:
    made = await tunnel(SMALL)
    made.destination.stop_after = 1
    content = bytes(range(256)) * 16 * KIB
    written = 0
    while "pause" not in made.user.calls:
        made.client.write(content[written : written + size])
        written += size
        await asyncio.sleep(0)
        if written >= len(content):
            break
    made.client.write_eof()
    await settle()
    assert len(made.destination.data) <= 2 * 64 * KIB
    assert made.request.buffered <= 64 * KIB
    while made.destination.calls != ["eof"]:
        made.destination.stop_after = len(made.destination.data) + 50_000
        made.server.resume_reading()
        await asyncio.sleep(0)
    assert made.destination.data == content[:written]
    assert made.user.calls in (["pause", "resume"], [])


async def test_an_end_behind_unread_data_comes_after_it() -> None:
    made = await tunnel()
    made.user.stop_after = 1
    made.server.write(b"first")
    await settle()
    made.server.write(b"second")
    made.server.write_eof()
    await settle()
    await made.end()
    await settle()
    assert (made.user.data, made.user.calls) == (b"first", [])
    made.user.stop_after = None
    made.client.resume_reading()
    await settle()
    assert made.user.data == b"firstsecond"
    assert made.user.calls == ["eof", "lost"]


async def test_an_end_in_the_same_piece_as_the_data_that_paused() -> None:
    made = await tunnel()
    made.user.stop_after = 1
    chunks = [*encode.payload(b"a"), *encode.payload(b"b"), encode.HALF_CLOSE]
    made.request.write([b"".join(chunks)], len(b"".join(chunks)))
    await settle()
    assert (made.user.data, made.user.calls) == (b"a", [])
    made.client.resume_reading()
    assert (made.user.data, made.user.calls) == (b"ab", [])
    made.client.resume_reading()
    assert made.user.calls == ["eof"]


async def test_a_status_that_is_not_ok_is_an_error_with_its_text() -> None:
    made = await tunnel()
    made.server.write(b"part")
    await made.end("14", "the destination broke%2C sorry")
    await until(lambda: "lost" in made.user.calls)
    assert isinstance(made.user.error, CallFailed)
    assert made.user.error.status is Status.UNAVAILABLE
    assert made.user.error.message == "the destination broke, sorry"
    assert made.user.calls == ["lost"]
    assert made.user.data == b"part"


@pytest.mark.parametrize(("fields", "error"), [({"grpc-status": "99"}, CallFailed), ({"x": "y"}, ProtocolViolation)])
async def test_strange_trailers(fields: dict[str, str], error: type[Exception]) -> None:
    made = await tunnel()
    await made.request.send_headers([*fields.items()], end_stream=True)
    await until(lambda: "lost" in made.user.calls)
    assert isinstance(made.user.error, error)


async def test_the_originals_client_has_one_word_for_every_end() -> None:
    made = await tunnel(half_close=False)
    made.client.write(b"all of it")
    await settle()
    made.stream.reset_nowait(ErrorCodes.CANCEL)
    await until(lambda: "lost" in made.destination.calls)
    assert (made.destination.data, made.destination.error) == (b"all of it", None)


async def test_a_cancel_before_the_destination_has_taken_everything_is_no_end() -> None:
    made = await tunnel(half_close=False)
    made.destination.stop_after = 1
    for _ in range(3):
        made.client.write(b"more")
        await settle()
    made.stream.reset_nowait(ErrorCodes.CANCEL)
    await until(lambda: "lost" in made.destination.calls)
    assert isinstance(made.destination.error, TunnelReset)


async def test_a_reset_is_told_to_the_other_end() -> None:
    made = await tunnel()
    made.client.write(b"x")
    await settle()
    made.client.abort()
    await until(lambda: "lost" in made.destination.calls)
    assert isinstance(made.destination.error, TunnelReset)
    assert made.destination.error.code == ErrorCodes.CANCEL
    assert made.user.calls == ["lost"]
    made.client.abort()
    made.client.close()
    made.client.write(b"y")
    made.client.write_eof()


async def test_a_server_that_aborts_leaves_the_status_to_its_handler() -> None:
    made = await tunnel(SMALL)
    made.user.stop_after = 1
    made.server.write(bytes(600 * KIB))
    await settle()
    made.server.abort()
    await made.end("14", "broken")
    made.user.stop_after = None
    made.client.resume_reading()
    await until(lambda: "lost" in made.user.calls)
    assert made.user.error is not None
    assert made.destination.calls == ["pause", "lost"]
    assert made.request.queue.size == 0


async def test_a_lost_connection_is_told_to_both_ends() -> None:
    made = await tunnel()
    made.sessions.server.abort("power cut")
    await until(lambda: "lost" in made.user.calls and "lost" in made.destination.calls)
    assert isinstance(made.user.error, ConnectionLost)
    assert isinstance(made.destination.error, ConnectionLost)
    assert made.destination.error.reason == "power cut"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"\0\0\0\0\0", "got wrong packet type"),
        (b"\1\0\0\0\2\x0a\0", "compressed"),
        (encode.message(Packet(connect_request=ConnectRequest(host_port="a:1"))), "got wrong packet type"),
        (encode.HALF_CLOSE + encode.message(Packet(payload=b"more")), "payload after half_close"),
    ],
)
async def test_a_peer_that_breaks_the_rules(content: bytes, says: str) -> None:
    for up in (True, False):
        made = await tunnel()
        sender = made.stream if up else made.request
        sender.write([content], len(content))
        tape = made.destination if up else made.user
        await until(lambda: "lost" in tape.calls)  # noqa: B023
        assert isinstance(tape.error, ProtocolViolation)
        assert says in str(tape.error)
        if up:
            await made.end("3", "no")
            await until(lambda: "lost" in made.user.calls)  # noqa: B023


async def test_an_end_inside_a_message() -> None:
    made = await tunnel()
    made.stream.write([b"\0\0\0\0\5\x0a\3a"], 8)
    made.stream.write_eof()
    await until(lambda: "lost" in made.destination.calls)
    assert isinstance(made.destination.error, ProtocolViolation)
    assert "inside a message" in str(made.destination.error)


async def test_closing_sends_what_was_written() -> None:
    made = await tunnel(SMALL)
    made.client.write(bytes(200 * KIB))
    made.client.close()
    assert made.client.is_closing()
    await until(lambda: made.destination.calls == ["eof"])
    assert len(made.destination.data) == 200 * KIB
    await until(lambda: made.user.calls[-1] == "lost")
    assert made.user.error is None
    made.server.write(b"nobody reads this")
    made.server.close()
    await made.server.finished()
    await made.end()
    await settle()
    assert made.user.data == b""
    assert not made.sessions.client.streams.open


async def test_a_pause_before_the_tunnel_is_joined_counts() -> None:
    """And so does one between that and the first piece, which comes a pass of the loop later."""
    for before in (True, False):
        sessions = Sessions(client=SMALL, server=SMALL)
        stream, request = await sessions.call(REQUEST)
        made = Tunnel(sessions, stream, request)
        made.client.set_protocol(made.user)
        made.client.write(b"early")
        await until(lambda: request.buffered > 0)  # noqa: B023
        if before:
            made.server.pause_reading()
        made.server.set_protocol(made.destination)
        made.server.pause_reading()
        for _ in range(50):
            made.client.write(bytes(10_000))
            await settle()
        assert made.destination.data == b""
        assert request.data_received <= 64 * KIB
        made.server.resume_reading()
        await until(lambda: len(made.destination.data) == 500_005)  # noqa: B023


async def test_a_reader_that_pauses_and_goes_on_at_once_gets_everything_in_order() -> None:
    class Hiccup(Tape):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            assert self.transport is not None
            self.transport.pause_reading()
            self.transport.resume_reading()

    made = await tunnel()
    content = bytes(range(256)) * 4
    made.server.pause_reading()
    for at in range(0, len(content), 100):
        made.client.write(content[at : at + 100])
    await settle()
    hiccup = Hiccup()
    hiccup.transport = made.server
    made.server.set_protocol(hiccup)
    made.server.resume_reading()
    await settle()
    assert hiccup.data == content


async def test_what_is_full_when_it_is_joined_says_so() -> None:
    sessions = Sessions(client=SMALL, server=SMALL)
    stream, request = await sessions.call(REQUEST)
    stream.write([bytes(300 * KIB)], 300 * KIB)
    made = Tunnel(sessions, stream, request)
    made.client.set_protocol(made.user)
    assert made.user.calls == ["pause"]


def late_by(session: Session, seconds: float) -> None:
    """What the session does from time to time, as if it were `seconds` later."""
    session._check(time.monotonic() + seconds)


async def test_a_half_closed_tunnel_lives_on_when_all_has_been_sent() -> None:
    made = await tunnel(SMALL)
    made.destination.stop_after = 1
    made.client.write(bytes(300 * KIB))
    made.client.write_eof()
    await settle()
    assert made.stream.queue.size
    made.destination.stop_after = None
    made.server.resume_reading()
    await until(lambda: made.destination.calls == ["eof"])
    for day in range(1, 4):
        late_by(made.sessions.client, day * 86_400)
        made.server.write(b"news")
        await settle()
    assert made.user.data == b"news" * 3
    assert "lost" not in made.user.calls


@pytest.mark.parametrize("how", ["write_eof", "close"])
async def test_a_slow_reader_gets_the_rest_and_one_that_stands_still_does_not(how: str) -> None:
    for slow in (True, False):
        made = await tunnel(SMALL)
        made.destination.stop_after = 1
        made.client.write(bytes(300 * KIB))
        await settle()
        made.server.write_eof()
        getattr(made.client, how)()
        for minute in range(1, 6):
            if slow:
                made.destination.stop_after = len(made.destination.data) + 64 * KIB
                made.server.resume_reading()
                await settle()
            if made.stream.queue.size:
                late_by(made.sessions.client, minute * 61)
                await settle()
        if slow:
            assert (len(made.destination.data), made.destination.calls) == (300 * KIB, ["eof"])
        else:
            assert isinstance(made.destination.error, TunnelReset)


async def test_a_tunnel_is_closed_when_what_was_written_is_gone() -> None:
    made = await tunnel(SMALL)
    made.user.stop_after = 1
    made.server.write(bytes(300 * KIB))
    await settle()
    made.server.close()
    await settle()
    assert made.destination.calls == ["pause"]
    made.user.stop_after = None
    made.client.resume_reading()
    await until(lambda: made.destination.calls == ["pause", "lost"])
    assert made.destination.error is None
    assert len(made.user.data) == 300 * KIB


async def test_a_tunnel_that_breaks_before_what_was_written_is_gone_says_so() -> None:
    made = await tunnel(SMALL)
    made.destination.stop_after = 1
    made.client.write(bytes(300 * KIB))
    await settle()
    made.client.close()
    await settle()
    made.sessions.server.abort("power cut")
    await until(lambda: "lost" in made.user.calls)
    assert isinstance(made.user.error, ConnectionLost)


@contextmanager
def at_most(size: int) -> Iterator[None]:
    """What is allocated within and not freed has a bound, in bytes."""
    tracemalloc.start()
    try:
        before = tracemalloc.take_snapshot()
        yield
        after = tracemalloc.take_snapshot()
    finally:
        tracemalloc.stop()
    assert sum(entry.size_diff for entry in after.compare_to(before, "filename")) < size


async def test_small_pieces_that_wait_cost_little_beside_their_bytes() -> None:
    """What a lane's mark counts is their bytes, and a piece on its own costs a hundred of them."""
    made = await tunnel(SMALL)
    made.destination.stop_after = 1
    with at_most(3 * 256 * KIB):
        while "pause" not in made.user.calls:
            made.client.write(b"x")
            await asyncio.sleep(0)
    written = made.stream.data_sent
    made.destination.stop_after = None
    made.server.resume_reading()
    await until(lambda: made.stream.queue.size == 0 and made.request.buffered == 0)
    assert made.stream.data_sent == written
    assert set(made.destination.data) == set(b"x")


async def test_many_messages_in_one_piece_for_a_reader_that_stopped() -> None:
    made = await tunnel()
    made.destination.stop_after = 1
    content = b"".join(encode.message(Packet(payload=b"%d" % (at % 10))) for at in range(20_000))
    with at_most(3 * len(content)):
        made.stream.write([content], len(content))
        await settle()
    assert made.destination.data == b"0"
    made.destination.stop_after = None
    made.server.resume_reading()
    await until(lambda: len(made.destination.data) == 20_000)
    assert made.destination.data == b"0123456789" * 2000


async def test_a_protocol_that_does_not_stay_closes() -> None:
    made = await tunnel()
    made.destination.stay = False
    made.client.write_eof()
    await until(lambda: made.destination.calls == ["eof", "lost"])


async def test_a_call_that_the_server_never_ends_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pog.tunnel.lane._CLOSE_TIMEOUT", 0.0)

    made = await tunnel(SessionConfig(keepalive=0.02))
    made.client.close()
    await until(lambda: made.request.error is not None)
    assert isinstance(made.request.error, TunnelReset)


async def test_trailers_behind_an_early_end() -> None:
    """RFC 9113 section 8.1: the server is done, the client was still sending."""
    made = await tunnel(SMALL)
    made.destination.stop_after = 1
    made.client.write(bytes(300 * KIB))
    await settle()
    made.server.write(b"enough")
    made.server.close()
    await made.end()
    await until(lambda: "lost" in made.user.calls)
    assert made.user.error is None
    assert made.user.data == b"enough"
    assert made.stream.trailers == [("grpc-status", "0"), ("grpc-message", "")]
    assert TRAILERS[0] in made.stream.trailers


async def test_a_tunnel_that_is_over_leaves_nothing_for_the_garbage_collector() -> None:
    async def use(sessions: Sessions, broken: bool) -> None:
        stream, request = await sessions.call(REQUEST)
        await request.send_headers(RESPONSE)
        made = Tunnel(sessions, stream, request)
        made.start()
        made.client.write(b"x" * 100_000)
        await until(lambda: len(made.destination.data) == 100_000)
        if broken:
            made.client.abort()
        else:
            made.client.write_eof()
            await made.end()
        await settle()
        made.user.transport = made.destination.transport = None

    sessions = Sessions()
    gc.collect()
    gc.disable()
    try:
        for broken in (False, True):
            await use(sessions, broken)
            sessions.requests.clear()
            await settle()
            left = [each for each in gc.get_objects() if isinstance(each, (Stream, LaneTransport))]
            assert left == []
    finally:
        gc.enable()
