from __future__ import annotations

from pog.http2.config import SessionConfig
from pog.http2.stalls import Stalls
from tests.http2.factory import REQUEST
from tests.http2.memory import Sessions, Taker, settle, until
from tests.http2.test_stream import KIB, SMALL, put


def test_waits_are_counted_once_and_timed() -> None:
    now = 100.0
    stalls = Stalls(lambda: now)
    stalls.begin("a")
    now = 101.0
    stalls.begin("a")
    stalls.begin("b")
    now = 103.0
    assert (stalls.count, len(stalls), stalls.seconds, stalls.seconds_so_far) == (2, 2, 0.0, 5.0)
    stalls.end("a")
    stalls.end("a")
    stalls.end("never")
    now = 104.0
    assert (stalls.count, len(stalls), stalls.seconds, stalls.seconds_so_far) == (2, 1, 3.0, 6.0)
    stalls.end_all()
    now = 200.0
    assert (len(stalls), stalls.seconds, stalls.seconds_so_far) == (0, 6.0, 6.0)


async def test_a_stream_whose_reader_stops_is_seen_to_wait() -> None:
    sessions = Sessions(server=SMALL)
    stream, request = await sessions.call(REQUEST)
    taker = Taker(request, stop_after=1)
    put(stream, bytes(500 * KIB))
    stream.write_eof()
    await settle()
    levels = sessions.client.snapshot()
    first = sessions.client.stats.stream_stall_seconds
    assert levels.stalled == 1
    assert levels.unsent == stream.queue.size > 0
    assert sessions.server.snapshot().buffered == request.buffered > 0
    assert sessions.client.stats.stream_stalls >= 1
    sessions.client.snapshot()
    assert sessions.client.stats.stream_stall_seconds > first > 0
    taker.go_on()
    await until(lambda: "ended" in taker.calls)
    levels = sessions.client.snapshot()
    assert (levels.stalled, levels.unsent) == (0, 0)
    after = sessions.client.stats.stream_stall_seconds
    sessions.client.snapshot()
    assert sessions.client.stats.stream_stall_seconds == after


async def test_a_stream_that_breaks_waits_no_more() -> None:
    for lose in ("reset", "connection"):
        sessions = Sessions(server=SMALL)
        stream, request = await sessions.call(REQUEST)
        Taker(request, stop_after=1)
        put(stream, bytes(500 * KIB))
        await settle()
        assert sessions.client.snapshot().stalled == 1
        if lose == "reset":
            request.reset_nowait()
        else:
            sessions.server.abort("gone")
        await until(lambda: stream.error is not None)  # noqa: B023  # awaited in the same turn
        assert sessions.client.snapshot().stalled == 0


async def test_the_window_of_the_whole_connection_is_waited_for_too() -> None:
    sessions = Sessions(server=SessionConfig(connection_window=64 * KIB, stream_window=1024 * KIB))
    stream, request = await sessions.call(REQUEST)
    taker = Taker(request)
    put(stream, bytes(500 * KIB))
    stream.write_eof()
    await until(lambda: "ended" in taker.calls)
    sessions.client.snapshot()
    stats = sessions.client.stats
    assert stats.connection_stalls > 1
    assert stats.connection_stall_seconds > 0
    assert stats.stream_stalls == 0


async def test_every_reset_and_goaway_is_counted_at_both_ends() -> None:
    sessions = Sessions()
    stream, request = await sessions.call(REQUEST)
    stream.reset_nowait()
    await until(lambda: request.error is not None)
    assert sessions.client.stats.resets_sent == sessions.server.stats.resets_received == {8: 1}
    sessions.server.drain()
    await until(lambda: sessions.client.closed.done())
    # The second one of a server finds no client any more that has nothing open.
    assert sessions.server.stats.goaways_sent[0] >= sessions.client.stats.goaways_received[0] == 1
    assert sessions.client.stats.goaways_sent[0] == 1
