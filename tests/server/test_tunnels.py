"""The tunnel service, whatever carries its calls."""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from pog.config.auth_items import parse_item
from pog.proto.grpcproxy_pb2 import ConnectRequest, ConnectResponse, Packet
from tests.helpers import rpc
from tests.helpers.items import item
from tests.helpers.origin import full_backlog, unused_port
from tests.helpers.user import basic
from tests.server.support import CARRIERS, SECONDS, destination, services, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from tests.server.support import Serving

CONNECTED = Packet(connect_response=ConnectResponse())
ABLE = {"pog-abilities": "half-close"}

pytestmark = pytest.mark.parametrize("carrier", CARRIERS)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data)


async def reset_after_a_byte(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readexactly(1)
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


class Call:
    """A call of HTTPProxy.Run. grpcio blocks, so it is awaited in threads."""

    def __init__(self, serving: Serving, metadata: Mapping[str, str] | None = None) -> None:
        self._tunnel = rpc.Tunnel(serving.channel, tuple((metadata or {}).items()), SECONDS)
        self.send = self._tunnel.send
        self.end = self._tunnel.end

    async def next(self) -> Packet | None:
        """The next packet; none at the end, however the call ended."""
        return await asyncio.to_thread(self._next)

    def _next(self) -> Packet | None:
        try:
            return next(self._tunnel.call, None)
        except grpc.RpcError:
            return None

    async def initial_metadata(self) -> dict[str, str]:
        return dict(await asyncio.to_thread(self._tunnel.call.initial_metadata))

    async def status(self) -> tuple[str, str]:
        """How the call ended; takes what comes until then."""
        while await self.next() is not None:
            pass
        self.end()
        code, text = await asyncio.to_thread(self._tunnel.status)
        return code.name, text

    def leave(self) -> None:
        self.end()
        self._tunnel.cancel()


@asynccontextmanager
async def call(serving: Serving, host_port: str, metadata: Mapping[str, str] | None = None) -> AsyncIterator[Call]:
    """A call that has asked for a tunnel, and is cancelled at the end unless it has ended."""
    made = Call(serving, metadata)
    made.send(request(host_port))
    try:
        yield made
    finally:
        made.leave()


def request(host_port: str) -> Packet:
    return Packet(connect_request=ConnectRequest(host_port=host_port))


@pytest.mark.parametrize("abilities", [{}, ABLE], ids=["original", "able"])
async def test_bytes_both_ways_and_the_end(
    carrier: str, abilities: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    async with services(carrier) as serving, destination(echo) as target:
        async with call(serving, target, abilities) as stream:
            assert await stream.next() == CONNECTED
            for _ in range(3):
                stream.send(Packet(payload=b"abc"))
                assert await stream.next() == Packet(payload=b"abc")
            assert serving.metric("tunnelling_connections_total") == 1
            assert serving.metric("tunnels", state="open") == 1
            stream.end()
            assert await stream.next() is None
            assert await stream.status() == ("OK", "")
        assert serving.metric("tunnelling_connections_total") == 0
        assert serving.metric("tunnel_bytes_total", direction="down") == 9
        assert serving.metric("tunnels_ended_total", by="client", reason="done") == 1
        assert serving.metric("dials_total", result="ok") == 1
        done = {"grpc_server_method": "HTTPProxy/Run", "grpc_server_status": "OK"}
        assert serving.metric("grpc_io_server_completed_rpcs", **done) == 1
    assert f"pog: {target} anonymous HTTPS " in capsys.readouterr().out


async def test_a_half_close_is_told_to_a_client_that_understands_it(carrier: str) -> None:
    async def farewell(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"bye")
        writer.write_eof()
        await reader.read()

    async with services(carrier) as serving, destination(farewell) as target:
        async with call(serving, target, ABLE) as stream:
            kinds = [(await stream.next() or Packet()).WhichOneof("union") for _ in range(3)]
            assert kinds == ["connect_response", "payload", "half_close"]
            stream.end()
            assert await stream.next() is None


async def test_payload_before_the_answer(carrier: str) -> None:
    async with services(carrier) as serving, destination(echo) as target, call(serving, target) as stream:
        stream.send(Packet(payload=b"early"))
        assert await stream.next() == CONNECTED
        assert await stream.next() == Packet(payload=b"early")


@pytest.mark.parametrize(
    ("host_port", "status", "http_status", "result"),
    [
        ("nowhere", "INVALID_ARGUMENT", 400, "bad_address"),
        ("", "INVALID_ARGUMENT", 400, "bad_address"),
        ("169.254.169.254:80", "PERMISSION_DENIED", 403, "denied"),
        ("a..b:80", "NOT_FOUND", 502, "dns"),
        ("127.0.0.1:{unused}", "UNAVAILABLE", 502, "refused"),
    ],
)
async def test_a_destination_that_is_not_reached(
    carrier: str, host_port: str, status: str, http_status: int, result: str
) -> None:
    async with services(carrier) as serving:
        async with call(serving, host_port.format(unused=unused_port())) as stream:
            answer = await stream.next() or Packet()
            assert answer.connect_response.error.status_code == http_status
            assert (await stream.initial_metadata())["pog-error"]
            assert await stream.status() == (status, answer.connect_response.error.error)
        assert serving.metric("dials_total", result=result) == 1
        assert serving.metric("tunnels", state="opening") == 0


@pytest.mark.parametrize("packets", [[Packet(payload=b"x")], [Packet()], []], ids=["payload", "nothing", "no packet"])
async def test_a_call_that_does_not_begin_with_a_request(carrier: str, packets: list[Packet]) -> None:
    async with services(carrier) as serving:
        stream = Call(serving)
        for packet in packets:
            stream.send(packet)
        if not packets:
            stream.end()
        status, text = await stream.status()
        assert (status, "expected connect_request" in text) == ("FAILED_PRECONDITION", True)
        assert serving.metric("tunnels_refused_total", code="FailedPrecondition") == 1


async def test_a_call_that_never_asks(carrier: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pog.server.proxy._REQUEST_TIMEOUT", 0.05)
    async with services(carrier) as serving:
        assert await Call(serving).status() == ("DEADLINE_EXCEEDED", "no connect_request in 0.05 s")
        assert serving.metric("tunnels_refused_total", code="DeadlineExceeded") == 1


async def test_a_client_that_gives_up_while_the_destination_is_dialled(carrier: str) -> None:
    async with services(carrier) as serving:
        with full_backlog() as target:
            async with call(serving, target):
                await until(lambda: serving.metric("tunnels", state="opening") == 1)
            await until(lambda: serving.metric("tunnels", state="opening") == 0)
        assert serving.metric("tunnels_refused_total", code="Canceled") == 1


async def test_a_client_that_leaves_an_open_tunnel(carrier: str) -> None:
    async with services(carrier) as serving, destination(echo) as target:
        async with call(serving, target) as stream:
            assert await stream.next() == CONNECTED
        await until(lambda: serving.metric("tunnelling_connections_total") == 0)
        labels = {"grpc_server_method": "HTTPProxy/Run", "grpc_server_status": "CANCELLED"}
        await until(lambda: serving.metric("grpc_io_server_completed_rpcs", **labels) == 1)


async def test_a_destination_that_breaks(carrier: str) -> None:
    async with services(carrier) as serving, destination(reset_after_a_byte) as target:
        async with call(serving, target) as stream:
            stream.send(Packet(payload=b"x"))
            status, text = await stream.status()
        assert (status, "the destination broke the connection" in text) == ("UNAVAILABLE", True)
        assert serving.metric("tunnels_ended_total", by="destination", reason="reset") == 1


@pytest.mark.parametrize(
    ("settings", "reason"), [({"idle_timeout": 0.1}, "idle"), ({"half_close_timeout": 0.1}, "half_closed")]
)
async def test_a_silent_tunnel_is_ended(carrier: str, settings: dict[str, Any], reason: str) -> None:
    release = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if reason == "half_closed":
            writer.write_eof()
        await release.wait()

    async with services(carrier, **settings) as serving, destination(silent) as target:
        async with call(serving, target, ABLE) as stream:
            status, text = await stream.status()
        assert (status, "for too long" in text) == ("ABORTED", True)
        assert serving.metric("tunnels_ended_total", by="pog", reason=reason) == 1
        release.set()


async def test_the_drain_refuses_new_tunnels_and_cuts_old_ones(carrier: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    async with services(carrier) as serving, destination(echo) as target:
        async with call(serving, target) as stream:
            assert await stream.next() == CONNECTED
            drain = asyncio.create_task(serving.server.drain(), name="drain")
            await until(lambda: serving.server.draining)
            assert (await Call(serving).status())[0] == "UNAVAILABLE"
            stream.send(Packet(payload=b"abc"))
            assert await stream.next() == Packet(payload=b"abc")
            await drain
            assert await stream.status() == ("UNAVAILABLE", "the server is shutting down")
        assert serving.metric("tunnels_ended_total", by="pog", reason="stopped") == 1
    assert "draining 1 tunnels" in caplog.text
    assert "1 tunnels were still open and are cut" in caplog.text


async def test_a_drain_without_tunnels_is_over_at_once(carrier: str) -> None:
    async with services(carrier) as serving, asyncio.timeout(SECONDS):
        await asyncio.gather(serving.server.drain(), serving.server.drain())


async def test_credentials(carrier: str, capsys: pytest.CaptureFixture[str]) -> None:
    async with services(carrier, auth=(parse_item(item("ilya", "pw")),)) as serving, destination(echo) as target:
        for metadata in ({}, {"authorization": basic("ilya", "no")}, {"authorization": "nonsense"}):
            status, text = await Call(serving, metadata).status()
            assert (status, "password" in text) == ("UNAUTHENTICATED", True)
        async with call(serving, target, {"authorization": basic("ilya", "pw")}) as stream:
            stream.end()
            assert await stream.status() == ("OK", "")
        assert serving.metric("auth_failures_total") == 2
        assert serving.metric("tunnels_refused_total", code="Unauthenticated") == 3
        assert serving.metric("tunnels_opened_total") == 1
    lines = capsys.readouterr().out
    assert lines.count("pog: - - HTTPS ") == 3
    assert f"pog: {target} ilya HTTPS " in lines
