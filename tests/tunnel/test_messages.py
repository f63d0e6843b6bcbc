"""The portable transport over a call that a test plays, and over grpclib's own server."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

import pytest
from grpclib.exceptions import StreamTerminatedError
from hypothesis import given
from hypothesis import strategies as st

from pog.errors import ProtocolViolation
from pog.grpctest import serve
from pog.net.dial import Dialled
from pog.proto.grpcproxy_grpc import HTTPProxyBase
from pog.proto.grpcproxy_pb2 import ConnectRequest, HalfClose, Packet
from pog.tunnel.messages import MessageTransport
from pog.tunnel.relay import Relay
from pog.wire import encode
from tests.grpctest.support import call, session
from tests.helpers.narrow import flood
from tests.http2.memory import settle, until

if TYPE_CHECKING:
    import grpclib.server

    from pog.tunnel.ended import Ended

KIB = 1024
PIECE = 256 * KIB  # one read of uvloop's
BOUND = 128 * KIB + 2 * PIECE


class FakeCall:
    """A call whose peer is the test: it sends and ends, and takes as many messages as it likes."""

    def __init__(self) -> None:
        self._incoming: asyncio.Queue[Packet | Exception | None] = asyncio.Queue()
        self._permits = asyncio.Semaphore(0)
        self.asked = 0
        self.sent: list[Packet] = []

    async def recv_message(self) -> Packet | None:
        self.asked += 1
        item = await self._incoming.get()
        if isinstance(item, Exception):
            raise item
        return item

    async def send_message(self, packet: Packet) -> None:
        await self._permits.acquire()
        self.sent.append(packet)

    def arrive(self, item: Packet | Exception | None) -> None:
        self._incoming.put_nowait(item)

    def take(self, count: int) -> None:
        for _ in range(count):
            self._permits.release()

    @property
    def payload(self) -> bytes:
        return b"".join(packet.payload for packet in self.sent)


class Tape(asyncio.Protocol):
    """Records what the transport tells it."""

    def __init__(self) -> None:
        self.data = b""
        self.calls: list[str] = []
        self.error: Exception | None = None
        self.full = False
        self.may_read = True

    def data_received(self, data: bytes) -> None:
        assert self.may_read and "eof" not in self.calls
        self.data += data

    def eof_received(self) -> bool:
        assert self.may_read
        self.calls.append("eof")
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self.calls.append("lost")
        self.error = exc

    def pause_writing(self) -> None:
        assert not self.full
        self.full = True

    def resume_writing(self) -> None:
        assert self.full
        self.full = False


class Tunnel:
    def __init__(self, *, half_close: bool = True) -> None:
        self.call = FakeCall()
        self.transport = MessageTransport(
            cast("grpclib.server.Stream[Packet, Packet]", self.call), half_close=half_close
        )
        self.tape = Tape()
        self.transport.set_protocol(self.tape)


ACTIONS = st.one_of(
    st.tuples(st.just("write"), st.integers(1, PIECE)),
    st.tuples(st.just("take"), st.integers(1, 4)),
    st.tuples(st.just("arrive"), st.integers(1, 100)),
    st.tuples(st.sampled_from(["pause", "resume", "settle"]), st.just(0)),
)


@given(st.lists(ACTIONS, max_size=40), st.sampled_from(["half_close", "end", "both"]))
async def test_in_every_order_little_is_held_and_nothing_is_lost(actions: list[tuple[str, int]], how: str) -> None:
    tunnel = Tunnel()
    transport, tape, call = tunnel.transport, tunnel.tape, tunnel.call
    written, arrived, spilled = b"", b"", False
    for action, size in actions:
        if action == "write" and not (tape.full and spilled):
            spilled = tape.full  # a loop delivers one piece more after the pause
            data = (len(written) % 251).to_bytes(1, "big") * size
            transport.write(data)
            written += data
        elif action == "take":
            call.take(size)
        elif action == "arrive":
            data = len(arrived).to_bytes(2, "big") * size
            call.arrive(Packet(payload=data))
            arrived += data
        elif action == "pause":
            transport.pause_reading()
            tape.may_read = False
        elif action == "resume":
            transport.resume_reading()
            tape.may_read = True
        elif action == "settle":
            await settle(3)
        assert transport.get_write_buffer_size() <= BOUND
        assert arrived.startswith(tape.data) and written.startswith(call.payload)
    transport.write_eof()
    transport.write_eof()
    if how != "end":
        call.arrive(Packet(half_close=HalfClose()))
    if how != "half_close":
        call.arrive(None)
    transport.resume_reading()
    tape.may_read = True
    call.take(1000)
    await until(lambda: tape.data == arrived and tape.calls == ["eof"])
    await until(lambda: bool(call.sent) and call.sent[-1].HasField("half_close"))
    assert call.payload == written
    assert sum(packet.HasField("half_close") for packet in call.sent) == 1
    assert not tape.full
    transport.close()
    await transport.finished()
    assert tape.calls == ["eof", "lost"] and tape.error is None


async def test_many_small_writes_are_few_messages() -> None:
    """A message for each would hold a hundred times what it carries."""
    tunnel = Tunnel()
    for _ in range(100_000):
        tunnel.transport.write(b"x")
    tunnel.call.take(3)
    await until(lambda: tunnel.transport.get_write_buffer_size() == 0)
    assert tunnel.call.payload == b"x" * 100_000
    tunnel.transport.abort()
    await tunnel.transport.finished()


async def test_nothing_is_asked_for_while_nothing_is_taken() -> None:
    tunnel = Tunnel()
    tunnel.transport.pause_reading()
    for _ in range(5):
        tunnel.call.arrive(Packet(payload=b"x"))
    await settle()
    assert tunnel.call.asked <= 1
    tunnel.transport.resume_reading()
    await until(lambda: tunnel.tape.data == b"xxxxx")
    tunnel.transport.abort()
    await tunnel.transport.finished()


async def test_a_closed_tunnel_sends_the_rest_and_drops_what_comes() -> None:
    tunnel = Tunnel()
    tunnel.transport.pause_reading()
    tunnel.transport.write(b"the rest")
    tunnel.transport.close()
    tunnel.transport.write(b"too late")
    tunnel.transport.write_eof()
    for _ in range(3):
        tunnel.call.arrive(Packet(payload=b"x"))
    await settle()
    assert tunnel.tape.calls == [] and tunnel.call.asked == 4
    tunnel.call.take(9)
    await tunnel.transport.finished()
    assert (tunnel.call.payload, tunnel.tape.data, tunnel.tape.calls) == (b"the rest", b"", ["lost"])


async def test_another_protocol_takes_over() -> None:
    tunnel = Tunnel()
    tunnel.call.arrive(Packet(payload=b"first"))
    await until(lambda: tunnel.tape.data == b"first")
    other = Tape()
    tunnel.transport.set_protocol(other)
    tunnel.call.arrive(Packet(payload=b"second"))
    await until(lambda: other.data == b"second")
    tunnel.transport.abort()
    await tunnel.transport.finished()
    assert (tunnel.tape.data, tunnel.tape.calls, other.calls) == (b"first", [], ["lost"])


@pytest.mark.parametrize(
    ("item", "error"),
    [
        (StreamTerminatedError("gone"), StreamTerminatedError),
        (Packet(connect_request=ConnectRequest(host_port="a:1")), ProtocolViolation),
        (Packet(), ProtocolViolation),
        (ValueError("compressed"), ProtocolViolation),
    ],
)
async def test_a_peer_that_breaks_it(item: Packet | Exception, error: type[Exception]) -> None:
    tunnel = Tunnel()
    tunnel.call.arrive(item)
    await until(lambda: tunnel.tape.calls == ["lost"])
    assert isinstance(tunnel.tape.error, error)
    await tunnel.transport.finished()


async def test_payload_after_half_close() -> None:
    tunnel = Tunnel()
    tunnel.call.arrive(Packet(half_close=HalfClose()))
    tunnel.call.arrive(Packet(payload=b"x"))
    await until(lambda: tunnel.tape.calls == ["eof", "lost"])
    assert isinstance(tunnel.tape.error, ProtocolViolation)
    await tunnel.transport.finished()


class Tunnels(HTTPProxyBase):
    """What pog's own servicer does, as short as it can be said, on a server that is not pog's."""

    def __init__(self) -> None:
        self.relay: Relay | None = None

    async def Run(self, stream: grpclib.server.Stream[Packet, Packet]) -> None:
        packet = await stream.recv_message()
        assert packet is not None
        host, _, port = packet.connect_request.host_port.partition(":")
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[Ended] = loop.create_future()
        _, held = await loop.create_connection(Dialled, host, int(port))
        await until(lambda: bool(held.early))
        payload = MessageTransport(stream, half_close=True)
        done = ended.set_result
        self.relay = Relay(held.transport, payload, idle_timeout=0, half_close_timeout=0, on_end=done)
        try:
            self.relay.start(held.early * 2)
            await asyncio.shield(ended)
        finally:
            self.relay.stop()
            payload.abort()
            await payload.finished()


async def test_a_destination_that_speaks_first_on_grpclibs_own_server() -> None:
    """The reader gives no credit beyond the first window: what is taken from the destination has a bound."""
    tunnels = Tunnels()
    with flood(1) as target:
        async with serve(tunnels) as sc:
            client = await session(sc)
            request = encode.message(Packet(connect_request=ConnectRequest(host_port=target)))
            stream = call(client, "/HTTPProxy/Run")
            stream.write([request], len(request))
            await until(lambda: stream.buffered > 0)
            assert tunnels.relay is not None
            last = 0
            while tunnels.relay.from_local != last:
                last = tunnels.relay.from_local
                await asyncio.sleep(0.1)
            assert last <= stream.data_received + 4 * PIECE + BOUND
            stream.reset_nowait()
            client.abort("enough")
