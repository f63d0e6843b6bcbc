"""The relay between two real sockets: it cannot tell a tunnel from a socket, so both ends here are TCP."""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from pog.tunnel.ended import Ended, Reason, Side
from pog.tunnel.relay import Relay, reset

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@dataclass
class Joined:
    """What stands on either side of a relay at work."""

    relay: Relay
    user: socket.socket
    far: socket.socket
    ended: asyncio.Future[Ended]

    async def receive(self, sock: socket.socket) -> bytes:
        return await asyncio.get_running_loop().sock_recv(sock, 65536)

    async def receive_all(self, sock: socket.socket) -> bytes:
        received = b""
        while data := await self.receive(sock):
            received += data
        return received


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        one = socket.create_connection(listener.getsockname())
        other, _ = listener.accept()
    one.setblocking(False)
    other.setblocking(False)
    return one, other


@asynccontextmanager
async def joined(*, idle: float = 0, half_close: float = 0, early: bytes = b"") -> AsyncIterator[Joined]:
    loop = asyncio.get_running_loop()
    user, local_sock = tcp_pair()
    far, tunnel_sock = tcp_pair()
    local, _ = await loop.create_connection(asyncio.Protocol, sock=local_sock)
    tunnel, _ = await loop.create_connection(asyncio.Protocol, sock=tunnel_sock)
    ended: asyncio.Future[Ended] = loop.create_future()
    relay = Relay(local, tunnel, idle_timeout=idle, half_close_timeout=half_close, on_end=ended.set_result)
    relay.start(early)
    try:
        yield Joined(relay, user, far, ended)
    finally:
        local.abort()
        tunnel.abort()
        user.close()
        far.close()
        await asyncio.sleep(0)


async def test_bytes_go_both_ways_and_early_ones_go_first() -> None:
    async with joined(early=b"early ") as it:
        it.user.send(b"up")
        data = b""
        while len(data) < 8:
            data += await it.receive(it.far)
        assert data == b"early up"
        it.far.send(b"down")
        assert await it.receive(it.user) == b"down"
        assert (it.relay.from_local, it.relay.from_tunnel) == (8, 4)


@pytest.mark.parametrize("first", ["user", "far"])
async def test_one_end_that_shuts_down_still_receives(first: str) -> None:
    async with joined() as it:
        one, other = (it.user, it.far) if first == "user" else (it.far, it.user)
        one.send(b"question")
        one.shutdown(socket.SHUT_WR)
        assert await it.receive_all(other) == b"question"
        other.send(b"answer")
        other.close()
        assert await it.receive_all(one) == b"answer"
        assert (await it.ended).reason is Reason.DONE


async def test_a_reset_tunnel_resets_the_local_socket() -> None:
    async with joined() as it:
        it.far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        it.far.close()
        with pytest.raises(ConnectionResetError):
            await it.receive(it.user)
        how = await it.ended
        assert (how.reason, how.side) == (Reason.RESET, Side.TUNNEL)
        assert isinstance(how.error, ConnectionResetError)


async def test_a_reset_local_socket_ends_the_relay_and_leaves_the_tunnel_to_its_owner() -> None:
    async with joined() as it:
        it.user.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        it.user.close()
        how = await it.ended
        assert (how.reason, how.side) == (Reason.RESET, Side.LOCAL)
        with pytest.raises(BlockingIOError):
            it.far.recv(1)


@pytest.mark.loops("uvloop")
async def test_what_still_arrives_for_a_socket_that_is_gone_is_dropped() -> None:
    """The tunnel's owner ends it a moment after the relay; uvloop raises for a write on a transport that is gone."""
    async with joined() as it:
        tunnel_end = it.relay._tunnel
        it.user.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        it.user.close()
        await it.ended
        await asyncio.sleep(0)
        tunnel_end.data_received(b"too late")


async def test_a_reader_that_stops_stops_the_sender() -> None:
    async with joined() as it:
        loop, sent, chunk = asyncio.get_running_loop(), 0, bytes(65536)
        taken = 0
        with pytest.raises(TimeoutError):
            while True:
                async with asyncio.timeout(0.5):
                    await loop.sock_sendall(it.far, chunk)
                sent += len(chunk)
                assert sent < 64 * 1024 * 1024, "nothing stops the sender"
        held = it.relay.from_tunnel
        while taken < held:
            taken += len(await it.receive(it.user))
        await loop.sock_sendall(it.far, chunk)


@pytest.mark.loops("uvloop", "asyncio")
@pytest.mark.parametrize("stopped", ["user", "far"])
async def test_a_reader_that_stops_among_small_pieces_makes_us_keep_few(stopped: str) -> None:
    """Each that a socket has to keep costs uvloop a kilobyte: 64 KiB in bytes would be 60 MB."""

    def taken() -> int:
        return it.relay.from_local + it.relay.from_tunnel

    async def send(data: bytes) -> None:
        before = taken()
        sender.send(data)
        async with asyncio.timeout(0.3):
            while taken() == before:  # noqa: ASYNC110  # no event: a relay tells nobody of a piece
                await asyncio.sleep(0)

    async with joined() as it:
        sender, reader = (it.far, it.user) if stopped == "user" else (it.user, it.far)
        end = it.relay._local if stopped == "user" else it.relay._tunnel
        waiting = end.transport.get_write_buffer_size
        sender.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while not waiting():
            await send(bytes(4096))
        full = taken()
        with pytest.raises(TimeoutError):
            while taken() < full + 20_000:
                await send(b"x")
        assert waiting() < 2 * 4096 + 2 * 1000
        while waiting():
            await it.receive(reader)
        again = taken()
        sender.send(bytes(60_000))
        async with asyncio.timeout(5):  # by its bytes it is not full now
            while taken() < again + 60_000:  # noqa: ASYNC110
                await asyncio.sleep(0)


async def test_a_silent_tunnel_ends_by_the_idle_limit_and_a_busy_one_does_not() -> None:
    async with joined(idle=0.2) as it:
        for _ in range(10):  # ten bytes over twice the limit keep it open
            it.user.send(b".")
            await it.receive(it.far)
            await asyncio.sleep(0.04)
        assert not it.ended.done()
        assert (await it.ended).reason is Reason.IDLE
        with pytest.raises(ConnectionResetError):
            await it.receive(it.user)


async def test_a_half_closed_tunnel_that_stays_silent_ends() -> None:
    async with joined(half_close=0.1) as it:
        it.user.shutdown(socket.SHUT_WR)
        assert await it.receive_all(it.far) == b""
        assert (await it.ended).reason is Reason.HALF_CLOSED


async def test_stop_resets_the_local_socket_and_reports_once() -> None:
    async with joined() as it:
        it.relay.stop()
        it.relay.stop()
        assert (await it.ended).reason is Reason.STOPPED
        with pytest.raises(ConnectionResetError):
            await it.receive(it.user)


async def test_reset_takes_a_transport_that_is_closing_already() -> None:
    one, other = tcp_pair()
    transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, sock=one)
    transport.close()
    reset(transport)
    other.close()
