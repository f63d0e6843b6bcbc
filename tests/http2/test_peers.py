"""grpcio as an independent peer over real sockets, as client and as server; and grpclib's own halves on our streams."""

from __future__ import annotations

import asyncio
import threading
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, cast

import grpc
import grpclib.client
import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from pog.errors import CallFailed
from pog.grpctest import serve
from pog.http2.session import Session
from pog.proto.grpcproxy_grpc import HTTPProxyBase
from pog.proto.grpcproxy_pb2 import ConnectRequest, ConnectResponse, Packet
from pog.tunnel.lane import LaneTransport
from pog.wire import encode
from tests.http2.memory import until
from tests.tunnel.test_lane import Tape

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    import grpclib.server

    from pog.grpctest import Serving
    from pog.http2.stream import Stream

    Call = grpclib.server.Stream[Packet, Packet]

RUN = "/HTTPProxy/Run"
HEADERS = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", RUN),
    (":authority", "exit"),
    ("te", "trailers"),
    ("content-type", "application/grpc"),
]
BOTH_LOOPS = pytest.mark.loops("asyncio", "uvloop")


class Echo(HTTPProxyBase):
    """Answers the first packet, then sends every payload back over the lane, until the client has ended."""

    def __init__(self) -> None:
        self.running = 0

    async def Run(self, stream: Call) -> None:
        self.running += 1
        try:
            await self._run(stream)
        finally:
            self.running -= 1

    async def _run(self, stream: Call) -> None:
        packet = await stream.recv_message()
        assert packet is not None
        if packet.connect_request.host_port == "refuse":
            raise GRPCError(Status.PERMISSION_DENIED, "not there")
        await stream.send_message(Packet(connect_response=ConnectResponse()))
        lane = LaneTransport(cast("Stream", stream._stream), half_close=False)
        done = asyncio.get_running_loop().create_future()

        class Back(Tape):
            def data_received(self, data: bytes) -> None:
                lane.write(data)

            def pause_writing(self) -> None:
                lane.pause_reading()

            def resume_writing(self) -> None:
                lane.resume_reading()

            def eof_received(self) -> bool:
                done.set_result(None)
                return True

            def connection_lost(self, exc: Exception | None) -> None:
                if not done.done():
                    done.set_result(exc)

        lane.set_protocol(Back())
        await done
        lane.close()


@asynccontextmanager
async def served() -> AsyncIterator[Serving]:
    """A server of ours: grpclib's handler on our streams. Calls must end before the server does."""
    service = Echo()
    async with serve(service, transport="app") as sc:
        yield sc
        await until(lambda: service.running == 0)


def grpcio_tunnel(port: int, packets: Iterator[Packet]) -> Iterator[Packet]:
    options = [("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
        run = channel.stream_stream(
            RUN, request_serializer=Packet.SerializeToString, response_deserializer=Packet.FromString
        )
        yield from run(packets, timeout=20)


@BOTH_LOOPS
async def test_grpcio_as_client() -> None:
    chunks = [bytes([number]) * size for number, size in enumerate([1, 100, 20_000, 1_000_000, 3_000_000, 7])]

    def talk(port: int) -> bytes:
        packets = [Packet(connect_request=ConnectRequest(host_port="a:1")), *(Packet(payload=each) for each in chunks)]
        answers = list(grpcio_tunnel(port, iter(packets)))
        assert answers[0] == Packet(connect_response=ConnectResponse())
        assert all(each.payload for each in answers[1:])
        return b"".join(each.payload for each in answers[1:])

    async with served() as sc:
        results = await asyncio.gather(*(asyncio.to_thread(talk, sc.address.port) for _ in range(4)))
    assert results == [b"".join(chunks)] * 4


async def test_grpcio_is_told_a_status() -> None:
    def talk(port: int) -> None:
        with pytest.raises(grpc.RpcError) as caught:
            list(grpcio_tunnel(port, iter([Packet(connect_request=ConnectRequest(host_port="refuse"))])))
        assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
        assert caught.value.details() == "not there"

    async with served() as sc:
        await asyncio.to_thread(talk, sc.address.port)


async def test_a_client_that_cancels_ends_the_handler() -> None:
    def talk(port: int) -> None:
        packets = iter([Packet(connect_request=ConnectRequest(host_port="a:1"))])
        options = [("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1)]
        gate = threading.Event()

        def forever() -> Iterator[Packet]:
            yield from packets
            gate.wait(20)

        with grpc.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
            run = channel.stream_stream(
                RUN, request_serializer=Packet.SerializeToString, response_deserializer=Packet.FromString
            )
            call = run(forever())
            next(call)
            call.cancel()
            gate.set()

    async with served() as sc:
        await asyncio.to_thread(talk, sc.address.port)


# grpcio as server


class Plain(HTTPProxyBase):
    """As Echo, by messages alone; "break" breaks the tunnel."""

    async def Run(self, stream: Call) -> None:
        first = await stream.recv_message()
        assert first is not None
        if first.connect_request.host_port == "refuse":
            raise GRPCError(Status.UNAVAILABLE, "not now")
        await stream.send_message(Packet(connect_response=ConnectResponse()))
        async for packet in stream:
            await stream.send_message(packet)
            if packet.payload == b"break":
                raise GRPCError(Status.UNAVAILABLE, "the destination broke")


async def open_tunnel(session: Session, host_port: str = "a:1") -> Stream:
    stream = session.open_stream(HEADERS)
    await stream.send_data(encode.message(Packet(connect_request=ConnectRequest(host_port=host_port))))
    return stream


async def opened(stream: Stream) -> LaneTransport:
    prefix = await stream.recv_data(5)
    await stream.recv_data(int.from_bytes(prefix[1:], "big"))
    return LaneTransport(stream, half_close=False)


@BOTH_LOOPS
async def test_grpcio_as_server() -> None:
    chunks = [bytes([number]) * size for number, size in enumerate([1, 100, 20_000, 1_000_000, 3_000_000, 7])]

    async with serve(Plain(), transport="grpcio") as sc:
        _, session = await sc.connect(lambda: Session(client=True))
        tapes = []
        for _ in range(4):
            lane = await opened(await open_tunnel(session))
            tape = Tape()
            tape.transport = lane
            lane.set_protocol(tape)
            for chunk in chunks:
                lane.write(chunk)
            lane.write_eof()
            tapes.append(tape)
        await until(lambda: all("lost" in tape.calls for tape in tapes))
        for tape in tapes:
            assert tape.error is None
            assert tape.data == b"".join(chunks)
        assert session.active == 0
        session.drain()
        await session.closed


async def test_a_status_of_grpcio_breaks_the_tunnel() -> None:
    async with serve(Plain(), transport="grpcio") as sc:
        _, session = await sc.connect(lambda: Session(client=True))
        refused = await open_tunnel(session, "refuse")
        assert await refused.recv_data(5) == b""
        fields = dict(refused.trailers or refused.headers or [])
        assert fields["grpc-status"] == "14"
        lane = await opened(await open_tunnel(session))
        tape = Tape()
        tape.transport = lane
        lane.set_protocol(tape)
        lane.write(b"break")
        await until(lambda: "lost" in tape.calls)
        assert tape.data == b"break"
        assert isinstance(tape.error, CallFailed)
        assert tape.error.status is Status.UNAVAILABLE
        session.abort("the test is over")
        await session.closed
