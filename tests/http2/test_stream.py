from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError, StreamTerminatedError
from grpclib.utils import Wrapper
from h2.errors import ErrorCodes
from h2.exceptions import StreamClosedError

from pog.errors import TunnelReset
from pog.http2.config import SessionConfig
from tests.http2.factory import REQUEST, RESPONSE, TRAILERS
from tests.http2.memory import Sessions, Taker, settle, until

if TYPE_CHECKING:
    from pog.http2.scheduler import Chunk

KIB = 1024
SMALL = SessionConfig(stream_window=64 * KIB, stream_window_ceiling=64 * KIB)


def put(stream: object, *chunks: Chunk) -> None:
    stream.write([*chunks], sum(map(len, chunks)))  # type: ignore[attr-defined]


# Calls


async def test_a_call_with_coroutines() -> None:
    sessions = Sessions()
    stream, request = await sessions.call(REQUEST)
    assert request.headers == REQUEST
    await stream.send_data(b"\0\0\0\0\5hello")
    await stream.end()
    assert await request.recv_data(5) == b"\0\0\0\0\5"
    assert await request.recv_data(5) == b"hello"
    assert await request.recv_data(5) == b""
    await request.send_headers(RESPONSE)
    await request.send_data(b"\0\0\0\0\6answer")
    await request.send_headers(TRAILERS, end_stream=True)
    assert await stream.recv_headers() == RESPONSE
    assert await stream.recv_data(5) == b"\0\0\0\0\6"
    assert await stream.recv_data(6) == b"answer"
    assert await stream.recv_data(5) == b""
    assert await stream.recv_trailers() == TRAILERS
    assert not stream.closable
    assert not request.closable
    assert sessions.client.active == sessions.server.active == 0
    assert sessions.budget.used == 0


async def test_a_message_may_be_larger_than_the_window() -> None:
    sessions = Sessions(server=SMALL)
    stream, request = await sessions.call(REQUEST)
    message = bytes(range(256)) * 4 * KIB
    sending = asyncio.create_task(stream.send_data(message))
    assert await request.recv_data(len(message)) == message
    await sending
    assert sessions.budget.used == 0


async def test_a_message_over_four_megabytes_is_refused_by_status() -> None:
    _, request = await Sessions().call(REQUEST)
    with pytest.raises(GRPCError):
        await request.recv_data(4 * KIB * KIB + 1)


async def test_nothing_is_lost_when_a_reader_is_cancelled() -> None:
    sessions = Sessions()
    stream, request = await sessions.call(REQUEST)
    reading = asyncio.create_task(request.recv_data(6))
    await stream.send_data(b"abc")
    await settle()
    reading.cancel()
    await stream.send_data(b"def")
    assert await request.recv_data(6) == b"abcdef"


@pytest.mark.parametrize("client", [False, True])
async def test_a_server_does_not_wait_long_for_the_rest_of_a_message(client: bool) -> None:
    sessions = Sessions(server=SessionConfig(message_timeout=0.01), client=SessionConfig(message_timeout=0.01))
    stream, request = await sessions.call(REQUEST)
    sender, receiver = (request, stream) if client else (stream, request)
    if client:
        await request.send_headers(RESPONSE)
    put(sender, b"\0\0\0\0\1x")
    assert await receiver.recv_data(5) + await receiver.recv_data(1) == b"\0\0\0\0\1x"
    waiting = asyncio.create_task(receiver.recv_data(5), name="between")
    await asyncio.wait([waiting], timeout=0.05)
    assert not waiting.done()  # between messages there is no limit
    put(sender, b"\0\0\0\0\4")
    assert await waiting == b"\0\0\0\0\4"
    put(sender, b"abc")
    if client:
        rest = asyncio.create_task(receiver.recv_data(4), name="inside")
        await asyncio.wait([rest], timeout=0.05)
        put(sender, b"d")
        assert await rest == b"abcd"
    else:
        with pytest.raises(GRPCError, match="not whole") as caught:
            await receiver.recv_data(4)
        assert caught.value.status is Status.DEADLINE_EXCEEDED


@pytest.mark.parametrize("sent", [b"", b"\0\0\0\0"])
async def test_a_server_does_not_wait_long_for_the_first_message_of_a_call(sent: bytes) -> None:
    sessions = Sessions(server=SessionConfig(message_timeout=0.01), client=SessionConfig(message_timeout=0.01))
    stream, request = await sessions.call(REQUEST)
    if sent:
        put(stream, sent)
    await request.send_headers(RESPONSE)
    answer = asyncio.create_task(stream.recv_data(5), name="the client waits as long as it likes")
    with pytest.raises(GRPCError, match="first message") as caught:
        await request.recv_data(5)
    assert caught.value.status is Status.DEADLINE_EXCEEDED
    assert not answer.done()
    answer.cancel()


@pytest.mark.parametrize(("content", "sizes"), [(b"\0\0", [5]), (b"\0\0\0\0\5", [5, 5]), (b"\0\0\0\0\5abc", [5, 5])])
async def test_an_end_inside_a_message_is_an_error(content: bytes, sizes: list[int]) -> None:
    stream, request = await Sessions().call(REQUEST)
    await stream.send_data(content, end_stream=True)
    for size in sizes[:-1]:
        await request.recv_data(size)
    with pytest.raises(GRPCError, match="inside a message"):
        await request.recv_data(sizes[-1])


async def test_an_end_between_messages_is_none() -> None:
    stream, request = await Sessions().call(REQUEST)
    await stream.send_data(b"\0\0\0\0\5\1\1\1\1\1\0\0\0\0\0", end_stream=True)
    assert [await request.recv_data(size) for size in (5, 5, 5, 0, 5)][3:] == [b"", b""]


async def test_chunks_come_as_they_are() -> None:
    stream, request = await Sessions().call(REQUEST)
    await stream.send_data(b"abc")
    assert await request.recv_chunk() == b"abc"
    await stream.send_data(b"de", end_stream=True)
    assert await request.recv_chunk() == b"de"
    assert await request.recv_chunk() == b""


async def test_a_writer_waits_while_much_is_queued() -> None:
    sessions = Sessions(server=SMALL)
    stream, request = await sessions.call(REQUEST)
    writing = asyncio.create_task(stream.send_data(bytes(1 << 20)))
    await settle()
    assert not writing.done()
    assert stream.queue.size == (1 << 20) - 64 * KIB
    for _ in range(32):
        await request.recv_data(32 * KIB)
    await writing


async def test_trailers_wait_for_what_is_queued() -> None:
    sessions = Sessions(client=SMALL)
    stream, request = await sessions.call(REQUEST)
    await request.send_headers(RESPONSE)
    put(request, bytes(200 * KIB))
    await request.send_headers(TRAILERS, end_stream=True)
    await settle()
    assert stream.trailers is None
    received = b""
    while chunk := await stream.recv_chunk():
        received += chunk
    assert len(received) == 200 * KIB
    assert await stream.recv_trailers() == TRAILERS


async def test_a_reset_reaches_those_who_wait() -> None:
    stream, request = await Sessions().call(REQUEST)
    waiting = asyncio.create_task(request.recv_data(5))
    headers = asyncio.create_task(stream.recv_headers())
    await settle()
    stream.reset_nowait(ErrorCodes.CANCEL)
    with pytest.raises(TunnelReset) as ours:
        await headers
    with pytest.raises(TunnelReset) as theirs:
        await waiting
    assert (ours.value.code, ours.value.by_peer) == (ErrorCodes.CANCEL, False)
    assert (theirs.value.code, theirs.value.by_peer) == (ErrorCodes.CANCEL, True)
    for each in (stream, request):
        with pytest.raises(StreamClosedError):
            await each.send_data(b"late")
        assert not each.closable
        each.reset_nowait()


async def test_a_wrapper_cancels_the_handler() -> None:
    stream, request = await Sessions().call(REQUEST)
    wrapper = request.wrapper = Wrapper()

    async def handler() -> None:
        with wrapper:
            await asyncio.get_running_loop().create_future()

    task = asyncio.create_task(handler())
    await settle()
    stream.reset_nowait()
    with pytest.raises(StreamTerminatedError):
        await task


async def test_a_client_that_gives_up_says_cancel() -> None:
    stream, request = await Sessions().call(REQUEST)
    stream.reset_nowait()
    await until(lambda: request.error is not None)
    assert isinstance(request.error, TunnelReset)
    assert request.error.code == ErrorCodes.CANCEL


# Payload


async def test_content_goes_to_the_consumer_and_what_was_unread_comes_first() -> None:
    stream, request = await Sessions().call(REQUEST)
    put(stream, b"head", b"first")
    assert await request.recv_data(4) == b"head"
    taker = Taker(request)
    put(stream, b" second")
    stream.write_eof()
    await until(lambda: "ended" in taker.calls)
    assert taker.data == b"first second"
    await settle()
    assert taker.calls == ["ended"]


async def test_a_reader_that_stops_holds_one_window_and_loses_nothing() -> None:
    sessions = Sessions(server=SMALL)
    stream, request = await sessions.call(REQUEST)
    taker = Taker(request, stop_after=1)
    content = bytes(range(256)) * 2 * KIB
    put(stream, content)
    stream.write_eof()
    await settle()
    assert request.buffered <= 64 * KIB
    assert sessions.budget.used == request.buffered
    assert taker.calls == []
    taker.go_on()
    await until(lambda: "ended" in taker.calls)
    assert taker.data == content
    assert sessions.budget.used == 0


async def test_a_stream_gets_its_window_with_its_reader() -> None:
    stream, request = await Sessions().call(REQUEST)
    put(stream, bytes(3000 * KIB))
    await settle()
    assert request.buffered == 64 * KIB
    taker = Taker(request, stop_after=1)
    await until(lambda: request.buffered > 900 * KIB)
    await settle()
    assert request.buffered <= 1024 * KIB
    taker.go_on()
    await until(lambda: len(taker.data) == 3000 * KIB)


async def test_an_end_is_told_once_and_after_the_content() -> None:
    stream, request = await Sessions().call(REQUEST)
    taker = Taker(request, stop_after=1)
    put(stream, b"x")
    await settle()
    put(stream, b"yz")
    stream.write_eof()
    await settle()
    assert (taker.data, taker.calls) == (b"x", [])
    taker.go_on()
    assert (taker.data, taker.calls) == (b"xyz", ["ended"])
    request.pause_reading()
    request.resume_reading()
    assert taker.calls == ["ended"]


async def test_a_writer_is_paused_and_resumed() -> None:
    sessions = Sessions(server=SMALL)
    stream, request = await sessions.call(REQUEST)
    writer, reader = Taker(stream), Taker(request, stop_after=1)
    put(stream, bytes(600 * KIB))
    assert writer.calls == ["pause"]
    await settle()
    assert writer.calls == ["pause"]
    reader.go_on()
    await until(lambda: writer.calls == ["pause", "resume"])
    assert stream.queue.size <= sessions.client.config.write_low


async def test_a_bulk_writer_lets_the_others_have_their_turn() -> None:
    stream, _ = await Sessions().call(REQUEST)
    writer = Taker(stream)
    put(stream, bytes(64 * KIB))
    assert writer.calls == ["pause"]
    assert stream.queue.size == 0
    await until(lambda: writer.calls == ["pause", "resume"])
    put(stream, b"little")
    await settle()
    assert writer.calls == ["pause", "resume"]


@pytest.mark.parametrize("paused", [False, True])
async def test_a_reset_is_told_at_once_and_frees_what_was_held(paused: bool) -> None:
    sessions = Sessions(server=SMALL)
    stream, request = await sessions.call(REQUEST)
    taker = Taker(request, stop_after=1 if paused else None)
    put(stream, bytes(50 * KIB))
    await settle()
    put(stream, bytes(50 * KIB))
    await settle()
    stream.reset_nowait(ErrorCodes.INTERNAL_ERROR)
    await until(lambda: taker.error is not None)
    assert isinstance(taker.error, TunnelReset)
    assert taker.error.code == ErrorCodes.INTERNAL_ERROR
    assert taker.calls == ["lost"]
    assert sessions.budget.used == 0
    assert not sessions.server.streams.open


async def test_attaching_to_a_broken_stream_tells_so() -> None:
    stream, request = await Sessions().call(REQUEST)
    stream.reset_nowait()
    await settle()
    taker = Taker(request)
    await until(lambda: taker.error is not None)


async def test_a_server_that_is_done_first_ends_the_call_and_takes_no_more() -> None:
    """RFC 9113 section 8.1: trailers, then RST_STREAM(NO_ERROR); to the client this is an end, not an error."""
    sessions = Sessions(server=SMALL)
    stream, request = await sessions.call(REQUEST)
    taker = Taker(stream)
    await request.send_headers(RESPONSE)
    put(stream, bytes(200 * KIB))
    await settle()
    await request.send_headers(TRAILERS, end_stream=True)
    await until(lambda: "ended" in taker.calls)
    await settle()
    assert taker.error is None
    assert stream.trailers == TRAILERS
    assert stream.queue.size == 0
    assert sessions.client.active == sessions.server.active == sessions.budget.used == 0
    assert sessions.server.stats.resets_sent == {ErrorCodes.NO_ERROR: 1}
    put(stream, b"nobody wants this")
    await settle()


async def test_content_that_nobody_will_read_is_dropped_and_credited() -> None:
    sessions = Sessions(server=SMALL)
    stream, request = await sessions.call(REQUEST)
    put(stream, bytes(64 * KIB))
    await settle()
    request.release()
    assert sessions.budget.used == 0
    put(stream, bytes(1 << 20))
    await until(lambda: stream.queue.size == 0)


@pytest.mark.parametrize("before", [False, True], ids=["as it comes", "what was held"])
async def test_an_owner_that_fails_loses_its_stream_and_no_other(before: bool) -> None:
    class Clumsy(Taker):
        def data_received(self, data: bytes | memoryview) -> None:
            raise RuntimeError("clumsy")

    sessions = Sessions()
    bad, bad_request = await sessions.call(REQUEST)
    good, good_request = await sessions.call(REQUEST)
    if before:
        put(bad, b"x")
        await until(lambda: bad_request.buffered == 1)
    clumsy, taker = Clumsy(bad_request), Taker(good_request)
    await settle()
    put(bad, b"x")
    put(good, b"y")
    await until(lambda: bad.error is not None)
    assert isinstance(bad.error, TunnelReset)
    assert bad.error.code == ErrorCodes.INTERNAL_ERROR
    assert clumsy.calls == ["lost"]
    await until(lambda: taker.data == b"y")
    assert sessions.budget.used == 0
