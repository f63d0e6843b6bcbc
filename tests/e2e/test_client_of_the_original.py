"""`pog client` against a server that behaves as the Go original, and against servers that misbehave."""

import hashlib
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from grpclib.const import Status

from pog.proto.grpcproxy_grpc import HTTPProxyBase
from pog.proto.grpcproxy_pb2 import ConnectResponse, HTTPError, Packet
from tests.helpers import original, pog
from tests.helpers.origin import Origins, blocks, digest, echo, sink, source, unused_port
from tests.helpers.user import Answer, basic, connect
from tests.helpers.watch import eventually

CONNECTED = Packet(connect_response=ConnectResponse())


@contextmanager
def through(service: HTTPProxyBase, env: dict[str, str] | None = None) -> Iterator[pog.End]:
    """A client of a server with the given service."""
    with original.serving(service) as sc:
        client = pog.client(str(sc.address), env)
        with client.program:
            yield client


@pytest.fixture(scope="module")
def behaviour() -> original.Original:
    return original.Original()


@pytest.fixture(scope="module")
def client(behaviour: original.Original) -> Iterator[pog.End]:
    with through(behaviour, {"CLIENT_POG_AUTH": "ilya:pw"}) as end:
        yield end


@pytest.fixture(autouse=True)
def no_fault(behaviour: original.Original) -> Iterator[None]:
    """The original saw no packet that it does not know, none of a wrong type and none that is empty."""
    yield
    assert behaviour.faults == []


def test_bytes_both_ways(client: pog.End, behaviour: original.Original, origins: Origins) -> None:
    size = 10_000_000
    with connect(client.address, origins.start(sink(size)).host_port) as tunnel:
        assert tunnel.status == 200
        for block in blocks(size):
            tunnel.send(block)
        assert tunnel.receive_all().decode() == digest(size)
    with connect(client.address, origins.start(source(size)).host_port) as tunnel:
        assert tunnel.receive_digest() == (size, digest(size))
    assert behaviour.metadata[-1]["authorization"] == basic("ilya", "pw")


def test_abilities_are_announced_in_metadata(client: pog.End, behaviour: original.Original, origins: Origins) -> None:
    with connect(client.address, origins.start(echo).host_port, early=b"abc") as tunnel:
        assert tunnel.receive(3) == b"abc"
    assert "half-close" in behaviour.metadata[-1]["pog-abilities"]


def test_the_end_of_either_side_ends_the_tunnel(client: pog.End, origins: Origins) -> None:
    origin = origins.start(echo)
    with connect(client.address, origin.host_port) as tunnel:
        tunnel.send(b"abc")
        assert tunnel.receive(3) == b"abc"
        tunnel.half_close()
        assert tunnel.receive_all() == b""
    eventually(lambda: check_at_rest(client, origin.live))


def check_at_rest(end: pog.End, live: int) -> None:
    assert (end.tunnels(), live) == (0, 0)


def test_a_destination_that_refuses(client: pog.End) -> None:
    """The original's own status and text reach the user."""
    with connect(client.address, f"127.0.0.1:{unused_port()}") as answer:
        assert answer.status == 503
        assert "refused" in answer.fields["x-proxy-over-grpc-error"]
        assert "refused" in answer.body


def check_answer(service: HTTPProxyBase, status: int, text: str) -> Answer:
    with through(service) as end, connect(end.address, "127.0.0.1:1") as answer:
        assert answer.status == status, answer.head
        assert text in answer.fields["x-proxy-over-grpc-error"]
        assert text in answer.body
        assert eventually(lambda: end.tunnels()) == 0
    return answer


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (Status.UNAVAILABLE, 503),
        (Status.UNAUTHENTICATED, 503),
        (Status.FAILED_PRECONDITION, 500),
        (Status.UNIMPLEMENTED, 500),
        (Status.INTERNAL, 500),
    ],
)
def test_a_status_instead_of_an_answer(code: Status, status: int) -> None:
    check_answer(original.failing(code, "the reason"), status, "the reason")


@pytest.mark.parametrize(
    ("given", "seen"), [(418, 418), (502, 502), (0, 500), (99, 500), (200, 500), (101, 500), (1000, 500), (-1, 500)]
)
def test_the_servers_error_is_passed_on(given: int, seen: int) -> None:
    """A status that is none, or that says success, must not open a tunnel or break the answer."""
    error = ConnectResponse(error=HTTPError(status_code=given, error="the reason"))
    check_answer(original.answering(Packet(connect_response=error)), seen, "the reason")


def test_a_servers_error_cannot_forge_the_answer() -> None:
    text = "one\r\nX-Forged: 1\r\n\r\n<script>\x00\u2028é"
    error = ConnectResponse(error=HTTPError(status_code=502, error=text))
    answer = check_answer(original.answering(Packet(connect_response=error)), 502, "one")
    assert "x-forged" not in answer.fields
    assert answer.head.isascii()


@pytest.mark.parametrize(
    "packets",
    [[Packet(payload=b"too early")], [Packet()], []],
    ids=["payload", "unknown", "none"],
)
def test_a_wrong_first_packet(packets: list[Packet]) -> None:
    check_answer(original.answering(*packets), 500, "")


@pytest.mark.parametrize("packet", [Packet(), CONNECTED], ids=["unknown", "connect_response"])
def test_a_wrong_packet_inside_a_tunnel(packet: Packet) -> None:
    """The tunnel ends with a reset: what came is not all there was."""
    service = original.answering(CONNECTED, Packet(payload=b"abc"), packet, Packet(payload=b"never"))
    with through(service) as end, connect(end.address, "127.0.0.1:1") as tunnel:
        assert tunnel.status == 200
        with pytest.raises(ConnectionResetError):
            assert b"never" not in tunnel.receive_all()
        eventually(lambda: check_at_rest(end, 0))


def test_an_error_inside_a_tunnel() -> None:
    service = original.failing(Status.UNAVAILABLE, "gone", CONNECTED, Packet(payload=b"abc"))
    with through(service) as end, connect(end.address, "127.0.0.1:1") as tunnel:
        with pytest.raises(ConnectionResetError):
            tunnel.receive_all()
        eventually(lambda: check_at_rest(end, 0))


def test_an_empty_payload_is_no_end(origins: Origins) -> None:
    service = original.answering(CONNECTED, Packet(payload=b""), Packet(payload=b"abc"), Packet(payload=b""))
    with through(service) as end, connect(end.address, "127.0.0.1:1") as tunnel:
        assert tunnel.receive_all() == b"abc"


def test_a_packet_of_almost_4_mib() -> None:
    """As much as grpc-go takes in one message."""
    size = (4 << 20) - 64
    data = b"".join(blocks(size))
    with through(original.answering(CONNECTED, Packet(payload=data))) as end:
        with connect(end.address, "127.0.0.1:1") as tunnel:
            assert tunnel.receive_digest() == (size, hashlib.sha256(data).hexdigest())


def test_a_server_that_never_answers() -> None:
    """The dial of the original ends after ten seconds at the latest; the user may go before."""

    with through(original.Silent()) as end:
        with pytest.raises(TimeoutError):
            answer_within(end, 0.3)
        eventually(lambda: check_at_rest(end, 0))


def answer_within(end: pog.End, seconds: float) -> None:
    with socket.create_connection(end.address, seconds) as sock:
        sock.sendall(b"CONNECT 127.0.0.1:1 HTTP/1.1\r\n\r\n")
        sock.recv(1)
