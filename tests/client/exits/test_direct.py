"""The exits without a server, over real sockets."""

from __future__ import annotations

import asyncio
import socket
import struct

import pytest

from pog.client.exits.direct import DialledTransport, DirectExit
from pog.client.exits.kinds import BUILT_IN, make_exit
from pog.client.exits.reject import RejectExit
from pog.client.exits.retry import RetryTransport
from pog.config.exits import BuiltIn
from pog.errors import FailureKind, Refused, SettingsError
from pog.net.dial import Dialled
from pog.tunnel.ended import Ended, Reason
from pog.tunnel.relay import Relay
from pog.tunnel.request import Attempt, Tunnel
from tests.client.support import SECONDS, SETTINGS, open_tunnel
from tests.helpers.relay import Counted


class Received(asyncio.Protocol):
    """Takes what comes from the destination."""

    def __init__(self) -> None:
        self.data = b""
        self.eof = asyncio.Event()
        self.lost: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        self.data += data

    def eof_received(self) -> bool:
        self.eof.set()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(exc)


class Events(asyncio.Protocol):
    """What a tunnel tells, in order."""

    def __init__(self) -> None:
        self.seen: list[object] = []

    def data_received(self, data: bytes) -> None:
        self.seen.append(data)

    def eof_received(self) -> bool:
        self.seen.append("eof")
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self.seen.append("lost")


async def test_a_tunnel_is_a_connection_and_what_the_destination_says_first_is_not_lost() -> None:
    async def speaks_first(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 hello\r\n")
        writer.write(await reader.read())
        writer.close()

    server = await asyncio.start_server(speaks_first, "127.0.0.1", 0)
    async with server, asyncio.timeout(SECONDS):
        port = server.sockets[0].getsockname()[1]
        transport = await open_tunnel(DirectExit("direct", SECONDS), f"127.0.0.1:{port}")
        received = Received()
        transport.set_protocol(received)
        transport.write(b"and again")
        assert transport.can_write_eof()
        transport.write_eof()
        await received.eof.wait()
        assert received.data == b"220 hello\r\nand again"
        transport.close()
        assert await received.lost is None


async def test_a_destination_that_has_ended_already_is_told_as_such() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        transport = await open_tunnel(DirectExit("direct", SECONDS), f"127.0.0.1:{listening.getsockname()[1]}")
        accepted, _ = listening.accept()
        accepted.sendall(b"bye")
        accepted.shutdown(socket.SHUT_WR)
        async with asyncio.timeout(SECONDS):
            local, there = socket.socketpair()
            loop = asyncio.get_running_loop()
            ended: asyncio.Future[Ended] = loop.create_future()
            user, _ = await loop.create_connection(asyncio.Protocol, sock=local)
            relay = Relay(user, transport, idle_timeout=0, half_close_timeout=SECONDS, on_end=ended.set_result)
            relay.start()
            reader, writer = await asyncio.open_connection(sock=there)
            assert await reader.read() == b"bye"
            writer.write(b"late")
            writer.write_eof()
            assert await loop.run_in_executor(None, accepted.recv, 10) == b"late"
            assert (await ended).reason is Reason.DONE
            writer.close()
            accepted.close()


class NoMore:
    """There is another exit, which is never asked."""

    left = True

    def again(self, why: str, done: object) -> Attempt:
        raise AssertionError(why)


@pytest.mark.parametrize("end", ["eof", "lost"])
async def test_with_other_exits_what_the_destination_says_first_comes_before_its_end(end: str) -> None:
    here, there = socket.socketpair()
    _, dialled = await asyncio.get_running_loop().create_connection(Dialled, sock=here)
    dialled.early = b"bye"
    if end == "eof":
        dialled.ended = True
    else:
        dialled.lost = ConnectionResetError("closed")
    tunnel = Tunnel(DialledTransport(dialled), "direct")
    retry = RetryTransport(tunnel, NoMore())
    events = Events()
    retry.set_protocol(events)
    assert events.seen == [b"bye", end]
    retry.abort()
    there.close()


async def test_a_tunnel_that_breaks_resets_the_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        transport = await open_tunnel(DirectExit("direct", SECONDS), f"127.0.0.1:{listening.getsockname()[1]}")
        received = Received()
        transport.set_protocol(received)
        accepted, _ = listening.accept()
        transport.abort()
        await received.lost
        accepted.settimeout(SECONDS)
        with accepted, pytest.raises(ConnectionResetError):
            accepted.recv(1)


async def test_a_reset_by_the_destination_is_an_error_of_the_tunnel() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        transport = await open_tunnel(DirectExit("direct", SECONDS), f"127.0.0.1:{listening.getsockname()[1]}")
        received = Received()
        transport.set_protocol(received)
        accepted, _ = listening.accept()
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        accepted.close()
        async with asyncio.timeout(SECONDS):
            assert isinstance(await received.lost, ConnectionResetError)


@pytest.mark.parametrize("host_port", ["169.254.169.254:80", "[fd00:ec2::254]:80", "[::ffff:169.254.169.254]:80"])
async def test_cloud_metadata_is_refused(host_port: str) -> None:
    with pytest.raises(Refused, match="metadata") as caught:
        await open_tunnel(DirectExit("direct", SECONDS), host_port)
    assert caught.value.failure.kind is FailureKind.DENIED


async def test_what_refuses_connections_is_told_by_its_kind() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    with pytest.raises(Refused) as caught:
        await open_tunnel(DirectExit("direct", SECONDS), f"127.0.0.1:{port}")
    assert caught.value.failure.kind is FailureKind.REFUSED


async def test_reject_refuses_everything() -> None:
    with pytest.raises(Refused, match=r"example\.com:443 is refused by a rule") as caught:
        await open_tunnel(RejectExit("reject"), "example.com:443")
    assert caught.value.failure.http_status == 403


@pytest.mark.parametrize("name", sorted(BUILT_IN))
async def test_an_exit_is_made_by_the_name_of_its_kind(name: str) -> None:
    exit = make_exit(BuiltIn(name), SETTINGS, Counted("client", SETTINGS).metrics)
    assert exit.name == name
    exit.start()
    await exit.close()


def test_a_kind_that_does_not_exist_is_named_with_those_that_do() -> None:
    with pytest.raises(SettingsError, match="there is no exit wormhole:, only direct, reject"):
        make_exit(BuiltIn("wormhole"), SETTINGS, Counted("client", SETTINGS).metrics)
