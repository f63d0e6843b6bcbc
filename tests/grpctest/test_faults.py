"""Each fault, as clients of three kinds see it: grpclib's, grpcio's, and one that looks at frames."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from google.protobuf.wrappers_pb2 import BytesValue, StringValue
from grpclib.const import Status
from grpclib.exceptions import GRPCError, StreamTerminatedError

from pog.errors import StreamsExhausted, TunnelReset
from pog.grpctest import Faults, Transport, front, serve
from pog.grpctest.tls import throw_away
from tests.grpctest.services import Echo, EchoStub, say
from tests.grpctest.support import ASYNCIO, BOTH_LOOPS, call, session

pytestmark = ASYNCIO
TRANSPORTS = pytest.mark.parametrize("transport", list(Transport))


@BOTH_LOOPS
@TRANSPORTS
async def test_latency(transport: Transport) -> None:
    """One call on a warm connection takes a round trip; bytes stay in order while it changes."""
    faults = Faults()
    async with serve(Echo(), transport=transport, faults=faults) as sc:
        await say(sc.channel)
        faults.latency = 0.1
        now = asyncio.get_running_loop().time
        began = now()
        await say(sc.channel)
        assert now() - began >= 0.2 - 0.002  # uvloop's clock has steps of a millisecond
        pending = [asyncio.create_task(say(sc.channel, str(number))) for number in range(10)]
        await asyncio.sleep(0)
        faults.latency = 0.0
        assert await asyncio.gather(*pending) == [str(number) for number in range(10)]


@pytest.mark.parametrize("size", [0, 1, 20, 100])
async def test_reset_after_so_many_bytes(size: int) -> None:
    """Just those arrive, then a reset."""
    async with serve(Echo(), faults=Faults(reset_after=size)) as sc:
        reader, writer = await asyncio.open_connection(sc.address.host, sc.address.port)
        writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes.fromhex("000000040000000000") * 20)
        got = b""
        with pytest.raises(ConnectionResetError):
            while data := await reader.read(1):
                got += data
        assert len(got) == size
        writer.transport.abort()


@TRANSPORTS
async def test_a_client_meets_a_reset(transport: Transport) -> None:
    faults = Faults(reset_after=40)
    async with serve(Echo(), transport=transport, faults=faults) as sc:
        with pytest.raises((StreamTerminatedError, ConnectionError)):
            await say(sc.channel)
        faults.reset_after = None
        assert await say(sc.channel) == "hello"
        stub = EchoStub(sc.channel)
        async with stub.Talk.open() as stream:
            await stream.send_message(StringValue(value="x"))
            await stream.recv_message()
            faults.reset()
            with pytest.raises(StreamTerminatedError):
                await stream.recv_message()
        assert await say(sc.channel) == "hello"
        assert faults.connections == 3


@TRANSPORTS
async def test_one_stream_at_a_time(transport: Transport) -> None:
    service = Echo()
    async with serve(service, transport=transport, faults=Faults(max_concurrent_streams=1)) as sc:
        client = await session(sc)
        assert client.capacity == 1
        first = call(client)
        with pytest.raises(StreamsExhausted):
            call(client)
        first.reset_nowait()
        assert client.capacity == 1
        await say(sc.channel)
        waits = asyncio.create_task(EchoStub(sc.channel).Wait(StringValue()))
        await service.waiting.wait()
        second = asyncio.create_task(say(sc.channel))
        done, _ = await asyncio.wait([second], timeout=0.1)
        assert not done
        waits.cancel()
        assert await second == "hello"
    await client.closed


@TRANSPORTS
@pytest.mark.parametrize("window", [0, 10])
async def test_a_window_that_never_opens(transport: Transport, window: int) -> None:
    async with serve(Echo(), transport=transport, faults=Faults(window=window)) as sc:
        client = await session(sc)
        stream = call(client)
        message = b"\0\0\0\0\x03\n\x01x"
        sent = asyncio.create_task(stream.send_data(message * 20_000))
        if window >= len(message):
            assert await stream.recv_data(len(message)) == message
        done, _ = await asyncio.wait([sent], timeout=0.1)
        assert not done
        assert stream.queue.size == len(message) * 20_000 - window
        stream.reset_nowait()
        await sent
        # Another stream has as much, and the connection's own window is not touched.
        if window:
            assert await say(sc.channel, "x") == "x"
        with pytest.raises((asyncio.TimeoutError, GRPCError)):  # the server may be the one that says so
            await EchoStub(sc.channel).Count(BytesValue(value=bytes(100_000)), timeout=0.2)
    await client.closed


@TRANSPORTS
async def test_goaway_lets_streams_go_on_and_takes_no_new_ones(transport: Transport) -> None:
    faults = Faults()
    async with serve(Echo(), transport=transport, faults=faults) as sc:
        client = await session(sc)
        stream = call(client)
        await stream.send_data(b"\0\0\0\0\0")
        assert await stream.recv_data(5) == b"\0\0\0\0\0"
        faults.go_away()
        await stream.send_data(b"\0\0\0\0\0", end_stream=True)
        assert await stream.recv_data(5) == b"\0\0\0\0\0"
        assert client.draining
        with pytest.raises(StreamsExhausted):
            call(client)
        assert dict(await stream.recv_trailers())["grpc-status"] == "0"
        assert await client.closed == "drained"


async def test_goaway_with_a_call_under_way_that_it_does_not_cover() -> None:
    """The call was never served, as far as the client can know; what it sends is served no more."""
    faults = Faults()
    async with serve(Echo(), faults=faults) as sc:
        client = await session(sc)
        stream = call(client)
        faults.go_away(2, last_stream=0)
        await stream.send_data(b"\0\0\0\0\0")
        with pytest.raises(TunnelReset) as caught:
            await stream.recv_data(5)
        assert caught.value.code == 7  # REFUSED_STREAM
        assert client.stats.goaways_received[2] == 1
    await client.closed


@pytest.mark.parametrize("transport", [Transport.TCP, Transport.TLS, Transport.APP])
async def test_goaway_at_an_independent_client(transport: Transport) -> None:
    """The bidi call goes on and the next call takes a connection of its own."""
    faults = Faults()
    async with serve(Echo(), transport=transport, faults=faults) as sc:
        channel = sc.grpcio_channel()
        once = channel.unary_unary("/test.Echo/Once", StringValue.SerializeToString, StringValue.FromString)
        talk = channel.stream_stream("/test.Echo/Talk", StringValue.SerializeToString, StringValue.FromString)()
        await talk.write(StringValue(value="before"))
        assert await talk.read() == StringValue(value="before")
        faults.go_away()
        assert await once(StringValue(value="new"), timeout=5) == StringValue(value="new")
        await talk.write(StringValue(value="after"))
        assert await talk.read() == StringValue(value="after")
        await talk.done_writing()
        assert await talk.code() is grpc.StatusCode.OK  # until then grpcio has a task that waits for it
        assert faults.connections == 2


@TRANSPORTS
async def test_a_status_in_trailers_only(transport: Transport) -> None:
    service = Echo()
    faults = Faults(trailers_only=GRPCError(Status.RESOURCE_EXHAUSTED, "come back later"))
    async with serve(service, transport=transport, faults=faults) as sc:
        for _ in range(2):
            with pytest.raises(GRPCError) as caught:
                await say(sc.channel)
            assert (caught.value.status, caught.value.message) == (Status.RESOURCE_EXHAUSTED, "come back later")
        client = await session(sc)
        stream = call(client, "/test.Echo/Once")
        head = dict(await stream.recv_headers())
        assert (head[":status"], head["grpc-status"]) == ("200", "8")
        assert await stream.recv_trailers() == []
        assert service.peers == []
        faults.trailers_only = None
        assert await say(sc.channel) == "hello"
    await client.closed


@BOTH_LOOPS
@pytest.mark.parametrize("tls", [False, True], ids=["cleartext", "tls"])
async def test_in_front_of_another_server(tls: bool) -> None:
    """Faults for a server that this package does not run; pages over HTTP/1.1 pass as well."""
    faults = Faults(max_concurrent_streams=1)
    certificate = throw_away()
    async with (
        serve(Echo(), transport=Transport.APP) as sc,
        front(*_host_port(sc.address), faults, tls=certificate.server if tls else None) as address,
    ):
        _, writer = opened = await asyncio.open_connection(
            *_host_port(address), ssl=certificate.client if tls else None
        )
        writer.write(b"GET / HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n")
        assert (await opened[0].read()).startswith(b"HTTP/1.1 404")
        writer.transport.abort()
        assert faults.connections == 1


async def test_the_server_behind_is_not_there() -> None:
    async with serve(Echo()) as sc:
        gone = sc.address
    faults = Faults()
    async with front(*_host_port(gone), faults) as address:
        reader, writer = await asyncio.open_connection(*_host_port(address))
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.transport.abort()


def _host_port(address: object) -> tuple[str, int]:
    host, _, port = str(address).rpartition(":")
    return host, int(port)


async def test_waiting_for_connections() -> None:
    faults = Faults()
    async with serve(Echo(), faults=faults) as sc:
        waits = asyncio.create_task(faults.connected(2))
        await say(sc.channel)
        assert not waits.done()
        client = await session(sc)
        await waits
        await faults.connected(1)
    await client.closed
