from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from h2.errors import ErrorCodes

from pog.errors import ConnectionLost, ProtocolViolation, StreamsExhausted, TunnelReset
from pog.http2 import frames
from pog.http2.config import SessionConfig
from pog.http2.session import Session
from tests.http2 import factory
from tests.http2.factory import REQUEST, RESPONSE, TRAILERS
from tests.http2.memory import Sessions, Taker, alone, connect, settle, until

if TYPE_CHECKING:
    from pog.http2.stream import Stream

KIB = 1024


def put(stream: Stream, content: bytes) -> None:
    stream.write([content], len(content))


async def read_nothing(request: Stream) -> None:
    """A reader that has paused; its window goes out with the answer."""
    Taker(request)
    request.pause_reading()
    await request.send_headers(RESPONSE)


async def answer(request: Stream) -> None:
    await request.send_headers(RESPONSE)
    await request.send_headers(TRAILERS, end_stream=True)


# Many streams


async def test_a_new_stream_does_not_wait_behind_a_download_that_the_network_cannot_take() -> None:
    sessions = Sessions()
    bulk, bulk_request = await sessions.call(REQUEST)
    bulk_taker = Taker(bulk)
    quick, quick_request = await sessions.call(REQUEST)
    taker = Taker(quick)
    for request in (bulk_request, quick_request):
        await request.send_headers(RESPONSE)
    await settle()
    sessions.down.block()
    _, limit = sessions.down.get_write_buffer_limits()
    while not sessions.down.full:
        put(bulk_request, bytes(64 * KIB))
        await asyncio.sleep(0)
    for _ in range(4):
        put(bulk_request, bytes(64 * KIB))
    put(quick_request, b"now")
    assert sessions.down.get_write_buffer_size() <= limit + 130 * KIB
    assert sessions.server.streams.open[1].queue.size >= 128 * KIB
    sessions.down.unblock()
    # What the transport had goes first, then the keystroke, then the rest of the download.
    await until(lambda: taker.data == b"now")
    assert len(bulk_taker.data) <= limit + 256 * KIB


async def test_a_hundred_streams_at_once_each_in_order() -> None:
    sessions = Sessions()
    calls = [await sessions.call(REQUEST) for _ in range(100)]
    takers = [Taker(request) for _, request in calls]
    for step in range(20):
        for number, (stream, _) in enumerate(calls):
            put(stream, f"{number}/{step} ".encode() * 100)
    for stream, _ in calls:
        stream.write_eof()
    await until(lambda: all("ended" in taker.calls for taker in takers))
    for number, taker in enumerate(takers):
        assert taker.data == b"".join(f"{number}/{step} ".encode() * 100 for step in range(20))


async def test_one_reset_one_silent_reader_and_the_others_go_on() -> None:
    small = SessionConfig(stream_window=64 * KIB, stream_window_ceiling=64 * KIB)
    sessions = Sessions(server=small)
    calls = [await sessions.call(REQUEST) for _ in range(10)]
    takers = [Taker(request, stop_after=1 if number == 0 else None) for number, (_, request) in enumerate(calls)]
    for stream, _ in calls:
        put(stream, bytes(300 * KIB))
    calls[1][0].reset_nowait()
    await until(lambda: all(len(taker.data) == 300 * KIB for taker in takers[2:]))
    assert calls[0][1].buffered <= 64 * KIB
    new, new_request = await sessions.call(REQUEST)
    await answer(new_request)
    assert await new.recv_trailers() == TRAILERS


async def test_output_of_one_piece_of_input_is_written_at_once() -> None:
    sessions = Sessions()
    for _ in range(20):
        sessions.client.open_stream(REQUEST)
    await until(lambda: len(sessions.requests) == 20)

    def answer_all(stream: Stream) -> None:
        for request in sessions.requests:
            request.send_headers_now(RESPONSE, end_stream=False)
            put(request, b"data")

    sessions.server.streams._on_request = answer_all
    before = sessions.down.written
    sessions.client.open_stream(REQUEST)
    await until(lambda: sessions.down.written > before)
    await settle()
    assert sessions.down.written == before + 1


async def test_what_several_streams_say_in_one_pass_is_joined_but_not_without_end() -> None:
    sessions = Sessions()
    calls = [await sessions.call(REQUEST) for _ in range(20)]
    await settle()
    before = sessions.up.written
    for stream, _ in calls[:5]:
        put(stream, b"few")
    assert sessions.up.written == before
    await settle()
    assert sessions.up.written == before + 1
    for stream, _ in calls:
        put(stream, b"many")
    assert sessions.up.written == before + 3  # twice eight; four wait for the next pass
    await settle()
    assert sessions.up.written == before + 4


async def test_after_much_input_the_other_sockets_are_read_first() -> None:
    sessions = Sessions()
    stream, request = await sessions.call(REQUEST)
    Taker(request)
    await settle()
    stopped = []
    sessions.down.pause_reading = lambda: stopped.append("stop")  # type: ignore[method-assign]
    sessions.down.resume_reading = lambda: stopped.append("read")  # type: ignore[method-assign]
    put(stream, b"little")
    await settle()
    assert stopped == []
    put(stream, bytes(100 * KIB))
    await settle()
    assert stopped == ["stop", "read"]


@pytest.mark.parametrize("closes", [False, True])
async def test_what_takes_long_to_take_in_leaves_others_their_turn(closes: bool) -> None:
    """Bytes behind it are not read before, and nothing is lost when the peer has closed by then."""
    requests: list[Stream] = []
    session = Session(client=False, on_request=requests.append)
    wire, _ = alone(session)
    session.feed(frames.PREFACE + factory.settings())
    session.data_received(b"".join(factory.headers(stream_id) for stream_id in range(1, 401, 2)))
    counts = [len(requests)]
    assert not wire.is_reading()
    if closes:
        session.eof_received()
    while not closes and not wire.is_reading():
        await asyncio.sleep(0)
        counts.append(len(requests))
    assert [stream.id for stream in requests] == [*range(1, 401, 2)]
    if not closes:
        assert max(later - sooner for sooner, later in pairwise(counts)) <= 25
    session.abort("done")


async def test_a_connection_that_is_lost_meanwhile_is_left_alone() -> None:
    requests: list[Stream] = []
    session = Session(client=False, on_request=requests.append)
    alone(session)
    session.feed(frames.PREFACE + factory.settings())
    session.data_received(b"".join(factory.headers(stream_id) for stream_id in range(1, 401, 2)))
    taken = len(requests)
    session.abort("lost")
    await settle()
    assert len(requests) == taken


# How many streams


async def test_a_full_connection_says_so_and_has_room_again() -> None:
    ended: list[Session] = []
    sessions = Sessions(server=SessionConfig(max_concurrent_streams=2))
    sessions.client._on_stream_end = ended.append
    await settle()
    assert sessions.client.capacity == 2
    first, first_request = await sessions.call(REQUEST)
    await sessions.call(REQUEST)
    with pytest.raises(StreamsExhausted):
        sessions.client.open_stream(REQUEST)
    ended.clear()
    await answer(first_request)
    await first.recv_trailers()
    assert ended == [sessions.client]
    assert sessions.client.capacity == 1


async def test_before_the_peers_settings_a_hundred_streams_may_be_opened() -> None:
    session = Session(client=True)
    with pytest.raises(ConnectionLost):
        session.open_stream(REQUEST)
    alone(session)
    for _ in range(100):
        session.open_stream(REQUEST)
    assert session.capacity == 0
    session.feed(factory.settings())
    assert session.capacity > 0
    session.abort("test")


# Ends


async def test_a_draining_server_lets_calls_finish_and_closes_with_the_last() -> None:
    draining: list[Session] = []
    sessions = Sessions()
    sessions.client._on_draining = draining.append
    stream, request = await sessions.call(REQUEST)
    sessions.server.drain()
    late = sessions.client.open_stream(REQUEST)
    await until(lambda: len(sessions.requests) == 2)
    assert draining == [sessions.client]
    assert sessions.client.capacity == 0
    with pytest.raises(StreamsExhausted):
        sessions.client.open_stream(REQUEST)
    for each in sessions.requests:
        put(each, b"still here") if each.queue.ends else await each.send_headers(RESPONSE)
        put(each, b"still here")
        await each.send_headers(TRAILERS, end_stream=True)
    assert await stream.recv_data(10) == await late.recv_data(10) == b"still here"
    assert await stream.recv_trailers() == TRAILERS
    await sessions.client.closed
    assert await sessions.server.closed == "drained"
    assert stream.error is None
    assert sessions.server.stats.goaways_sent == {ErrorCodes.NO_ERROR: 2}


async def test_a_stream_after_the_last_goaway_is_refused() -> None:
    sessions = Sessions()
    await sessions.call(REQUEST)
    sessions.server.drain()
    await settle()
    sessions.client._drain.begun = False
    stream = sessions.client.open_stream(REQUEST)
    await until(lambda: stream.error is not None)
    assert isinstance(stream.error, TunnelReset)
    assert stream.error.code == ErrorCodes.REFUSED_STREAM
    assert len(sessions.requests) == 1


async def test_a_draining_client_closes_with_its_last_stream() -> None:
    closed: list[str] = []
    sessions = Sessions()
    sessions.client._on_closed = lambda _, reason: closed.append(reason)
    stream, request = await sessions.call(REQUEST)
    sessions.client.drain()
    await settle()
    assert not sessions.client.closed.done()
    await answer(request)
    await stream.recv_trailers()
    await sessions.client.closed
    await sessions.server.closed
    assert closed == ["drained"]


async def test_an_idle_connection_that_drains_closes_at_once() -> None:
    for side in ("client", "server"):
        sessions = Sessions()
        await settle()
        getattr(sessions, side).drain()
        await sessions.client.closed
        await sessions.server.closed


async def test_a_lost_connection_breaks_every_stream_with_its_reason() -> None:
    sessions = Sessions()
    calls = [await sessions.call(REQUEST) for _ in range(3)]
    takers = [Taker(stream) for stream, _ in calls]
    sessions.server.abort("test")
    await until(lambda: all(taker.error is not None for taker in takers))
    assert str(takers[0].error) == "connection lost: reset by the other end, in memory"
    assert str(calls[0][1].error) == "connection lost: test"
    assert await sessions.server.closed == "test"
    assert sessions.client.closed.done()
    assert sessions.client.capacity == 0
    with pytest.raises(ConnectionLost):
        sessions.client.open_stream(REQUEST)


async def test_a_peer_that_breaks_the_protocol_is_told_and_left() -> None:
    sessions = Sessions()
    stream, request = await sessions.call(REQUEST)
    taker = Taker(request)
    sessions.up.write(factory.data(0, b"nonsense"))
    await until(lambda: taker.error is not None)
    assert isinstance(taker.error, ConnectionLost)
    assert "protocol" in taker.error.reason
    await sessions.client.closed
    assert stream.error is not None
    assert sessions.client.stats.goaways_received == {ErrorCodes.PROTOCOL_ERROR: 1}
    assert sessions.server.stats.goaways_sent == {ErrorCodes.PROTOCOL_ERROR: 1}


async def test_a_goaway_with_an_error_does_not_end_what_goes_on() -> None:
    sessions = Sessions()
    stream, request = await sessions.call(REQUEST)
    sessions.down.write(frames.goaway(1, ErrorCodes.ENHANCE_YOUR_CALM, b"too_many_pings"))
    await settle()
    assert sessions.client.draining
    await answer(request)
    assert await stream.recv_trailers() == TRAILERS


# Silence


async def test_silence_ends_a_connection_that_is_in_use() -> None:
    sessions = Sessions(client=SessionConfig(keepalive=30, keepalive_timeout=15))
    stream, _ = await sessions.call(REQUEST)
    taker = Taker(stream)
    await settle()
    sessions.down.block()
    await sessions.pass_time(31)
    await sessions.pass_time(14)
    assert taker.error is None
    await sessions.pass_time(2)
    assert sessions.client.closed.result() == "no answer to a probe within 15 s"
    assert taker.error is not None


async def test_probes_keep_a_silent_connection() -> None:
    sessions = Sessions(client=SessionConfig(keepalive=30, keepalive_timeout=15))
    stream, request = await sessions.call(REQUEST)
    await settle()
    for _ in range(5):
        seen = sessions.down.written
        await sessions.pass_time(31)
        assert sessions.down.written > seen
    assert sessions.client.rtt is not None
    await answer(request)
    assert await stream.recv_trailers() == TRAILERS


async def test_a_stream_that_is_opened_after_a_silence_is_probed_at_once() -> None:
    sessions = Sessions(client=SessionConfig(keepalive=30, keepalive_timeout=15))
    await settle()
    await sessions.pass_time(31)
    sessions.down.block()
    sessions.client.open_stream(REQUEST)
    await sessions.pass_time(16)
    assert "no answer" in sessions.client.closed.result()


@pytest.mark.parametrize("said", [b"", frames.PREFACE[:-6], frames.PREFACE])
async def test_a_peer_that_does_not_begin_to_speak_is_given_up(said: bytes) -> None:
    config = SessionConfig(settings_timeout=0.02)
    session = Session(client=False, config=config, on_request=lambda _: None)
    alone(session)
    session.feed(said)
    async with asyncio.timeout(5):
        assert "no SETTINGS" in await session.closed


async def test_a_peer_that_has_begun_to_speak_is_kept() -> None:
    session = Session(client=False, config=SessionConfig(settings_timeout=0.0))
    alone(session)
    session.feed(frames.PREFACE + factory.settings())
    await asyncio.sleep(0.01)
    assert not session.closed.done()
    session.abort("done")


async def test_a_malformed_answer_ends_its_stream_with_a_reason_and_no_other() -> None:
    """What HTTP/1.1 programs behind a front put into their answers."""
    session = Session(client=True)
    alone(session)
    session.feed(factory.settings())
    bad, good = session.open_stream(REQUEST), session.open_stream(REQUEST)
    lost, kept = Taker(bad), Taker(good)
    session.feed(factory.headers(1, [(":status", "502"), ("connection", "close")]))
    session.feed(factory.headers(3, RESPONSE) + factory.data(3, b"hello"))
    assert isinstance(lost.error, ProtocolViolation)
    assert "b'connection'" in str(lost.error)
    assert kept.data == b"hello"
    assert session.stats.resets_sent == {ErrorCodes.PROTOCOL_ERROR: 1}
    session.abort("done")


async def test_a_server_ends_a_connection_without_streams_and_keeps_one_in_use() -> None:
    sessions = Sessions(server=SessionConfig(idle=900, keepalive=0))
    stream, request = await sessions.call(REQUEST)
    await sessions.pass_time(2000)
    assert not sessions.client.draining
    await answer(request)
    await stream.recv_trailers()
    await sessions.pass_time(10)
    await sessions.pass_time(880)
    assert not sessions.client.draining
    await sessions.pass_time(30)
    assert await sessions.client.closed == "drained"


SMALL = SessionConfig(stream_window=64 * KIB, stream_window_ceiling=64 * KIB, keepalive=0)


async def test_a_rest_that_nobody_takes_is_given_up() -> None:
    sessions = Sessions(client=SMALL, server=SessionConfig(linger=60, keepalive=0))
    stream, request = await sessions.call(REQUEST)
    taker = Taker(stream, stop_after=1)
    await request.send_headers(RESPONSE)
    put(request, bytes(300 * KIB))
    await request.send_headers(TRAILERS, end_stream=True)
    await settle()
    await sessions.pass_time(1)
    await sessions.pass_time(58)
    assert request.error is None
    await sessions.pass_time(3)
    assert request.error is not None
    assert taker.error is not None
    assert not sessions.server.streams.open


async def test_a_writer_does_not_wait_for_ever_for_a_peer_that_takes_nothing() -> None:
    sessions = Sessions(client=SMALL, server=SessionConfig(linger=60, keepalive=0))
    stream, request = await sessions.call(REQUEST)
    await request.send_headers(RESPONSE)
    sending = asyncio.create_task(request.send_data(bytes(300 * KIB)), name="waits for the window")
    await settle()
    await sessions.pass_time(1)
    assert not sending.done()
    await sessions.pass_time(61)
    await sending
    assert isinstance(request.error, TunnelReset)
    assert stream.error is not None
    assert not sessions.server.streams.open


# Floods


async def test_a_peer_that_reads_nothing_cannot_make_us_hold_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pog.http2.session._MOST_UNSENT_ANSWERS", 300 * KIB)

    session = Session(client=False, on_request=lambda stream: None)
    wire, _ = alone(session)
    session.feed(frames.PREFACE + factory.settings() + factory.headers(1))
    wire.block()
    flood = (factory.frame(frames.PING, 0, 0, bytes(8)) * 2 + factory.data(1, b"x")) * 4000
    while not session.closed.done():
        session.feed(flood)
        await settle()
        assert wire.get_write_buffer_size() < 700 * KIB
    assert "does not read" in session.closed.result()


async def test_memory_is_shared_by_all_sessions() -> None:
    """Over half of it a reader's window stays small; over all of it streams without a reader go."""
    sessions = Sessions()
    sessions.budget.limit = 1000 * KIB

    async def waiting(size: int, *, reader: bool) -> tuple[Stream, Stream]:
        stream, request = await sessions.call(REQUEST)
        if reader:
            await read_nothing(request)
        put(stream, bytes(size))
        await settle()
        return stream, request

    calls = [await waiting(400 * KIB, reader=True) for _ in range(2)]
    assert sessions.budget.used == 800 * KIB
    calls += [await waiting(400 * KIB, reader=reader) for reader in (True, False, False)]
    assert sessions.budget.used == (800 + 3 * 64) * KIB
    stream, request = await waiting(400 * KIB, reader=False)
    assert isinstance(stream.error, TunnelReset)
    assert stream.error.code == ErrorCodes.ENHANCE_YOUR_CALM
    assert sessions.budget.used == (800 + 3 * 64) * KIB
    for _, each in calls:
        each.release()
    assert sessions.budget.used == 0
    stream, request = await waiting(400 * KIB, reader=True)
    assert request.buffered == 400 * KIB


async def test_windows_given_before_memory_was_short_do_not_fill_it() -> None:
    sessions = Sessions()
    calls = [await sessions.call(REQUEST) for _ in range(8)]
    for _, request in calls:
        await read_nothing(request)
    await settle()
    sessions.budget.limit = 1000 * KIB
    for stream, _ in calls:
        put(stream, bytes(900 * KIB))
    await settle(500)
    assert sessions.budget.used <= 1250 * KIB
    assert sum(stream.error is not None for stream, _ in calls) == 7


# Beginnings


async def test_what_was_read_before_counts() -> None:
    requests: list[Stream] = []
    session = Session(client=False, on_request=requests.append)
    hello = frames.PREFACE + factory.settings() + factory.headers(1) + factory.data(1, b"early")
    session.feed(hello[:30])
    session.feed(hello[30:])
    alone(session)
    session.feed(factory.data(1, b" late", end_stream=True))
    assert [await requests[0].recv_chunk() for _ in range(2)] == [b"early late", b""]
    session.abort("test")


async def test_an_upgraded_request_is_stream_one() -> None:
    requests: list[Stream] = []
    session = Session(client=False, on_request=requests.append)
    session.upgrade(b"AAQAAP__", REQUEST)
    session.feed(frames.PREFACE + factory.settings() + factory.headers(3))
    _, peer = alone(session)
    assert [request.id for request in requests] == [1, 3]
    assert requests[0].headers == REQUEST
    assert await requests[0].recv_data(5) == b""
    await answer(requests[0])
    await settle()
    types = [each.type for each in factory.parse(peer.data)]
    assert types.count(frames.HEADERS) == 2
    session.abort("test")


async def test_a_malformed_upgrade_closes() -> None:
    session = Session(client=False, on_request=lambda stream: None)
    session.upgrade(b"AAQAA", REQUEST)
    alone(session)
    assert "HTTP2-Settings" in await session.closed


async def test_a_server_without_an_owner_refuses_requests() -> None:
    client, server = Session(client=True), Session(client=False)
    connect(client, server)
    stream = client.open_stream(REQUEST)
    await until(lambda: stream.error is not None)
    assert isinstance(stream.error, TunnelReset)
    assert stream.error.code == ErrorCodes.REFUSED_STREAM


async def test_the_round_trip_is_known_from_the_start() -> None:
    sessions = Sessions()
    await until(lambda: sessions.client.rtt is not None and sessions.server.rtt is not None)


async def test_dropping_what_is_held_may_write_and_come_back_without_counting_twice() -> None:
    """The eighth piece of a pass is written at once; that may end the very stream whose held bytes are given back."""
    sessions = Sessions()
    stream, request = await sessions.call(REQUEST)
    other_stream, other = await sessions.call(REQUEST)
    Taker(stream), Taker(other_stream)
    await read_nothing(request)
    put(stream, bytes(400 * KIB))
    await until(lambda: request.buffered == 400 * KIB)
    await other.send_headers(RESPONSE)
    await settle()
    put(other, bytes(4 * KIB))
    for _ in range(4):
        put(other, b"x")
    put(request, b"y")
    await request.send_headers(TRAILERS, end_stream=True)
    request.release()
    assert sessions.budget.used == 0
    await settle()
    assert sessions.budget.used == 0


async def test_a_malformed_upgrade_leaves_nothing_behind() -> None:
    session = Session(client=False)
    session.upgrade(b"AAA", REQUEST)
    alone(session)
    assert session.closed.done()
    assert session._liveness._timer is None
