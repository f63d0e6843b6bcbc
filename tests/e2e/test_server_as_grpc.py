"""grpcio, an independent client, drives every service of the server."""

import asyncio
import hashlib
import queue
from collections.abc import Iterator

import grpc
import pytest

import pog as package
from pog.proto.grpcproxy_pb2 import ConnectResponse, HalfClose, Packet
from tests.helpers import pog, rpc
from tests.helpers.items import expiry, item
from tests.helpers.known_faults import LATE_DATA
from tests.helpers.origin import (
    Origins,
    blocks,
    dialogue,
    digest,
    echo,
    farewell,
    full_backlog,
    silent,
    source,
    unused_port,
)
from tests.helpers.user import basic
from tests.helpers.watch import eventually

ABLE = (("pog-abilities", "half-close"),)
CONNECTED = Packet(connect_response=ConnectResponse())


@pytest.fixture
def opened(shared_server: pog.End) -> Iterator[grpc.Channel]:
    with rpc.channel(shared_server.host_port) as channel:
        yield channel


def test_health(opened: grpc.Channel) -> None:
    answer = rpc.health(opened)
    assert answer.keys() == {"app", "uptime", "uptime_seconds", "version"}
    assert (answer["app"], answer["version"]) == ("proxy-over-grpc server", package.__version__)
    assert isinstance(answer["uptime_seconds"], int)


def test_stacks(opened: grpc.Channel) -> None:
    text = rpc.stacks(opened)
    assert "\ntask " in text
    assert "\nthread MainThread" in text


def test_echo(opened: grpc.Channel, origins: Origins) -> None:
    with rpc.Tunnel(opened) as tunnel:
        tunnel.connect(origins.start(echo).host_port)
        assert tunnel.next() == CONNECTED
        for number in range(100):
            tunnel.payload(b"%d" % number)
            assert tunnel.next() == Packet(payload=b"%d" % number)
        tunnel.end()
        assert [packet for packet in tunnel.rest() if packet.payload] == []
        assert tunnel.status()[0] is grpc.StatusCode.OK


@pytest.mark.parametrize("metadata", [(), ABLE], ids=["original", "able"])
def test_much_down(opened: grpc.Channel, origins: Origins, metadata: rpc.Metadata) -> None:
    """Every packet is small enough for grpc-go (4 MiB) and none is empty."""
    size = 20_000_000
    with rpc.Tunnel(opened, metadata) as tunnel:
        tunnel.connect(origins.start(source(size)).host_port)
        assert tunnel.next() == CONNECTED
        sha = hashlib.sha256()
        while packet := next(tunnel.call, None):
            if packet.HasField("half_close"):
                tunnel.end()
                continue
            assert 0 < len(packet.payload) < 4 << 20
            sha.update(packet.payload)
        assert sha.hexdigest() == digest(size)
        assert tunnel.status()[0] is grpc.StatusCode.OK


def test_much_up(opened: grpc.Channel, origins: Origins) -> None:
    """In packets of one MiB; CloseSend is the user's end of data, and the answer comes after it."""
    size = 20_000_000
    with rpc.Tunnel(opened) as tunnel:
        tunnel.connect(origins.start(dialogue).host_port)
        for block in blocks(size):
            tunnel.payload(block)
        tunnel.end()
        assert tunnel.next() == CONNECTED
        assert b"".join(packet.payload for packet in tunnel.rest()).decode() == f"{size} {digest(size)}"


def test_payload_before_the_answer(opened: grpc.Channel, origins: Origins) -> None:
    with rpc.Tunnel(opened) as tunnel:
        tunnel.connect(origins.start(echo).host_port)
        tunnel.payload(b"early")
        assert tunnel.next() == CONNECTED
        assert tunnel.next() == Packet(payload=b"early")


def test_half_close_is_said_to_a_peer_that_understands_it(opened: grpc.Channel, origins: Origins) -> None:
    with rpc.Tunnel(opened, ABLE) as tunnel:
        tunnel.connect(origins.start(farewell).host_port)
        assert tunnel.next() == CONNECTED
        assert "half-close" in dict(tunnel.call.initial_metadata())["pog-abilities"]
        assert tunnel.next() == Packet(payload=b"bye")
        assert tunnel.next() == Packet(half_close=HalfClose())
        tunnel.payload(b"still here")
        tunnel.end()
        assert tunnel.rest() == []
        assert tunnel.status()[0] is grpc.StatusCode.OK


@pytest.mark.parametrize("metadata", [(), (("pog-abilities", "teleport, x"),), (("pog-abilities", ""),)])
def test_half_close_is_never_said_to_any_other(opened: grpc.Channel, origins: Origins, metadata: rpc.Metadata) -> None:
    """The original ends the tunnel with an error at a packet that it does not know; to it, the call ends with OK."""
    with rpc.Tunnel(opened, metadata) as tunnel:
        tunnel.connect(origins.start(farewell).host_port)
        assert tunnel.rest() == [CONNECTED, Packet(payload=b"bye")]
        assert tunnel.status()[0] is grpc.StatusCode.OK


def check_failure(tunnel: rpc.Tunnel, http_status: int, code: grpc.StatusCode) -> None:
    """The error is in a connect_response, and the status of the call matches it."""
    error = tunnel.next().connect_response.error
    assert (error.status_code, tunnel.status()[0]) == (http_status, code)
    assert error.error
    assert tunnel.status()[1]
    assert len(error.error) < 500


@pytest.mark.parametrize(
    "target", ["", "nonsense", "host:", ":1", "a:99999", "a b:1", "a\r\nb:1", "::1:80", "[x]:1", "a" * 20_000]
)
def test_a_bad_address(opened: grpc.Channel, target: str) -> None:
    with rpc.Tunnel(opened) as tunnel:
        tunnel.connect(target)
        check_failure(tunnel, 400, grpc.StatusCode.INVALID_ARGUMENT)


def test_failures_of_a_dial(opened: grpc.Channel) -> None:
    with rpc.Tunnel(opened) as tunnel:
        tunnel.connect(f"127.0.0.1:{unused_port()}")
        check_failure(tunnel, 502, grpc.StatusCode.UNAVAILABLE)
    with rpc.Tunnel(opened) as tunnel:
        tunnel.connect("0.0.0.0:80")
        check_failure(tunnel, 403, grpc.StatusCode.PERMISSION_DENIED)
    with rpc.Tunnel(opened) as tunnel:
        tunnel.connect("no-such-host.invalid:80")
        check_failure(tunnel, 502, grpc.StatusCode.NOT_FOUND)


def test_a_dial_that_takes_too_long() -> None:
    server = pog.server({"DIAL_TIMEOUT": "0.3"})
    with server.program, full_backlog() as target, rpc.channel(server.host_port) as opened:
        with rpc.Tunnel(opened) as tunnel:
            tunnel.connect(target)
            check_failure(tunnel, 504, grpc.StatusCode.DEADLINE_EXCEEDED)


@pytest.mark.parametrize("first", [Packet(payload=b"x"), Packet(), CONNECTED, Packet(half_close=HalfClose())])
def test_a_wrong_first_packet(opened: grpc.Channel, first: Packet) -> None:
    with rpc.Tunnel(opened) as tunnel:
        tunnel.send(first)
        assert tunnel.status()[0] is grpc.StatusCode.FAILED_PRECONDITION


def test_a_packet_of_more_than_4_mib(opened: grpc.Channel) -> None:
    """What grpc-go refuses too; a declared length must not make the server hold as much."""
    with rpc.Tunnel(opened) as tunnel:
        tunnel.connect("x" * (5 << 20))
        assert tunnel.status()[0] is grpc.StatusCode.RESOURCE_EXHAUSTED


@LATE_DATA
def test_no_packet_at_all(opened: grpc.Channel) -> None:
    with rpc.Tunnel(opened) as tunnel:
        tunnel.end()
        assert tunnel.status()[0] is grpc.StatusCode.FAILED_PRECONDITION


@pytest.mark.parametrize("packet", [Packet(), CONNECTED], ids=["empty", "connect_response"])
def test_a_wrong_packet_inside_a_tunnel(opened: grpc.Channel, origins: Origins, packet: Packet) -> None:
    origin = origins.start(silent)
    with rpc.Tunnel(opened) as tunnel:
        tunnel.connect(origin.host_port)
        assert tunnel.next() == CONNECTED
        tunnel.send(packet)
        assert tunnel.status()[0] is not grpc.StatusCode.OK
        eventually(lambda: check_live(origin.live, 0))


def check_live(found: int, expected: int) -> None:
    assert found == expected


@LATE_DATA
def test_an_unknown_method(opened: grpc.Channel) -> None:
    for path in ("/HTTPProxy/Walk", "/nobody.Knows/It"):
        with pytest.raises(grpc.RpcError) as caught:
            opened.unary_unary(path)(b"", timeout=rpc.SECONDS)
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_a_deadline_ends_the_tunnel(shared_server: pog.End, opened: grpc.Channel, origins: Origins) -> None:
    origin = origins.start(silent)
    with rpc.Tunnel(opened, timeout=0.5) as tunnel:
        tunnel.connect(origin.host_port)
        assert tunnel.next() == CONNECTED
        assert tunnel.status()[0] is grpc.StatusCode.DEADLINE_EXCEEDED
    eventually(lambda: check_live(origin.live, 0))
    eventually(lambda: check_live(shared_server.tunnels(), 0))


@pog.engine_only
def test_the_end_by_a_client_of_the_original_reaches_the_destination_as_an_end(
    opened: grpc.Channel, origins: Origins
) -> None:
    """That client cancels its call when the user is done; its server closes the destination's socket then."""
    seen: queue.Queue[bytes | Exception] = queue.Queue()

    async def record(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.put(await reader.readexactly(len(b"all of it")))
        try:
            seen.put(await reader.read())
        except OSError as error:
            seen.put(error)

    with rpc.Tunnel(opened) as tunnel:
        tunnel.connect(origins.start(record).host_port)
        assert tunnel.next() == CONNECTED
        tunnel.payload(b"all of it")
        assert seen.get(timeout=rpc.SECONDS) == b"all of it"
        tunnel.cancel()
        assert seen.get(timeout=rpc.SECONDS) == b""


@pog.engine_only
def test_cancelling_frees_the_dial_and_the_tunnel(origins: Origins) -> None:
    origin = origins.start(silent)
    server = pog.server()
    with server.program, rpc.channel(server.host_port) as opened, full_backlog() as target:
        rpc.health(opened)  # connects
        before = tasks_at_rest(server)
        with rpc.Tunnel(opened) as dialling:
            dialling.connect(target)
            eventually(lambda: check_live(open_calls(server), 1))
            dialling.cancel()
            eventually(lambda: check_live(open_calls(server), 0))
        with rpc.Tunnel(opened) as tunnel:
            tunnel.connect(origin.host_port)
            assert tunnel.next() == CONNECTED
            tunnel.cancel()
            eventually(lambda: check_live(open_calls(server) + server.tunnels() + origin.live, 0))
        eventually(lambda: check_tasks(server, before))


def open_calls(end: pog.End) -> int:
    """Calls of HTTPProxy.Run that have not ended."""
    found = end.metrics()

    def total(what: str) -> float:
        counted = found.items()
        return sum(n for name, n in counted if name.startswith(f"grpc_io_server_{what}_rpcs{{") and "HTTPProxy" in name)

    return int(total("started") - total("completed"))


def tasks_at_rest(end: pog.End) -> dict[str, int]:
    """The same twice: what the question itself starts ends a moment after the answer."""

    def check() -> dict[str, int]:
        first, second = rpc.tasks(end.host_port), rpc.tasks(end.host_port)
        assert first == second
        return first

    return eventually(check)


def check_tasks(end: pog.End, expected: dict[str, int]) -> None:
    assert rpc.tasks(end.host_port) == expected


@pog.engine_only
def test_every_service_wants_credentials_once_there_are_some(origins: Origins) -> None:
    server = pog.server({"POG_AUTH_A": item("a", "a"), "POG_AUTH_OLD": item("old", "old", expiry(-1)), "STACKS": ""})
    right = (("authorization", basic("a", "a")),)
    with server.program, rpc.channel(server.host_port) as opened:
        for wrong in ((), (("authorization", basic("a", "b")),), (("authorization", basic("old", "old")),)):
            for ask in (rpc.health, rpc.stacks):
                with pytest.raises(grpc.RpcError) as caught:
                    ask(opened, wrong)
                assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
            with rpc.Tunnel(opened, wrong) as tunnel:
                tunnel.connect(origins.start(echo).host_port)
                assert tunnel.status()[0] is grpc.StatusCode.UNAUTHENTICATED
        assert rpc.health(opened, right)
        assert rpc.stacks(opened, right)
        with rpc.Tunnel(opened, right) as tunnel:
            tunnel.connect(origins.start(echo).host_port)
            assert tunnel.next() == CONNECTED
