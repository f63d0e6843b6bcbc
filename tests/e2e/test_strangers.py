"""Strangers behind a front that puts everybody's requests on one connection: they end their own streams alone."""

from __future__ import annotations

import itertools
import socket
import time
from typing import TYPE_CHECKING, Self

import pytest
from hpack import Decoder, Encoder

from pog.http2 import frames
from pog.proto.grpcproxy_pb2 import ConnectRequest, Packet
from pog.wire.encode import message
from tests.helpers import h2c, pog
from tests.helpers.items import item
from tests.helpers.origin import Origins, echo
from tests.helpers.stranger import CALL, PAGE, odd_requests
from tests.helpers.user import SECONDS, Address, basic, connect
from tests.http2 import factory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pog.engine_only
TUNNEL = 1


class Front:
    """One connection to a server, as a front has it: a user's tunnel, and what strangers send beside it."""

    def __init__(self, server: Address, target: str, *login: tuple[str, str]) -> None:
        self.encoder = Encoder()
        # The answers to strangers: a status, or the code of a reset.
        self.answers: dict[int, str] = {}
        self._down = b""
        self._decoder = Decoder()
        self._unread = b""
        self._streams = itertools.count(TUNNEL + 2, 2)
        self._sock = socket.create_connection(server, SECONDS)
        request = message(Packet(connect_request=ConnectRequest(host_port=target)))
        fields = [(name, "/HTTPProxy/Run" if name == ":path" else value) for name, value in CALL]
        head = self.head(TUNNEL, [*fields, *login])
        self.send(frames.PREFACE + factory.settings({4: 1 << 20}) + head + factory.data(TUNNEL, request))
        self.wait(lambda: self._down != b"")

    def head(self, stream_id: int, fields: factory.Headers, *, end_stream: bool = False) -> bytes:
        return frames.headers(stream_id, self.encoder.encode(fields), 16_384, end_stream=end_stream)

    def next_stream(self) -> int:
        return next(self._streams)

    def send(self, data: bytes) -> None:
        self._sock.sendall(data)

    def check_tunnel(self, text: bytes) -> float:
        """The user's bytes come back; how long that took, in seconds."""
        began, self._down = time.perf_counter(), b""
        self.send(factory.data(TUNNEL, message(Packet(payload=text))))
        self.wait(lambda: text in self._down)
        return time.perf_counter() - began

    def wait(self, condition: Callable[[], bool]) -> None:
        """Reads what comes until the condition holds. Fails when the connection or the tunnel ends."""
        while not condition():
            data = self._sock.recv(1 << 16)
            assert data, f"the connection has ended, with {self._unread!r}"
            self._unread += data
            while (frame := self._next_frame()) is not None:
                self._receive(*frame)

    def _next_frame(self) -> tuple[int, int, bytes] | None:
        data = self._unread
        if len(data) < frames.HEADER_BYTES:
            return None
        end = frames.HEADER_BYTES + int.from_bytes(data[:3], "big")
        if len(data) < end:
            return None
        self._unread = data[end:]
        return data[3], int.from_bytes(data[5:9], "big"), data[frames.HEADER_BYTES : end]

    def _receive(self, kind: int, stream_id: int, body: bytes) -> None:
        assert kind != frames.GOAWAY, body
        if kind == frames.HEADERS:
            fields = {str(name): str(value) for name, value in self._decoder.decode(body)}
            self.answers.setdefault(stream_id, fields.get(":status", ""))
        elif kind == frames.RST_STREAM:
            assert stream_id != TUNNEL, body
            self.answers.setdefault(stream_id, f"reset {int.from_bytes(body, 'big')}")
        elif kind == frames.DATA and body:
            self._down += body if stream_id == TUNNEL else b""
            self.send(factory.window_update(0, len(body)))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._sock.close()


@pytest.fixture
def front(shared_server: pog.End, origins: Origins) -> Iterator[Front]:
    with Front(shared_server.address, origins.start(echo).host_port) as front:
        yield front
    shared_server.program.check_output()


@pytest.mark.parametrize("seed", range(3))
def test_a_tunnel_lives_through_a_thousand_odd_requests(front: Front, seed: int) -> None:
    """Each is answered or reset, and between them a usual one is served: the tables of header compression agree."""
    odd = odd_requests(seed)
    for round_ in range(40):
        asked = []
        for _ in range(25):
            stream_id = front.next_stream()
            front.send(next(odd).encode(stream_id, front.encoder))
            asked.append(stream_id)
        usual = front.next_stream()
        front.send(front.head(usual, PAGE, end_stream=True))
        front.check_tunnel(b"round %d of %d" % (round_, seed))
        front.wait(lambda usual=usual: usual in front.answers)  # type: ignore[misc]  # the loop's own
        assert front.answers[usual] == "200"


def test_the_requests_that_cut_tunnels_before(front: Front) -> None:
    """What fronts pass on, or make themselves (haproxy of HTTP/1.0 without Host)."""
    wanted = {
        (("te", "trailers, deflate"),): "reset 1",
        (("connection", "keep-alive"),): "reset 1",
        (("host", "another"),): "reset 1",
        (("content-length", "7"),): "reset 1",
    }
    for more, answer in wanted.items():
        stream_id = front.next_stream()
        front.send(front.head(stream_id, [*PAGE, *more], end_stream=True))
        front.wait(lambda stream_id=stream_id: stream_id in front.answers)  # type: ignore[misc]  # the loop's own
        assert front.answers[stream_id] == answer
        front.check_tunnel(b"tunnel")
    stream_id = front.next_stream()
    front.send(front.head(stream_id, [field for field in PAGE if field[0] != ":authority"], end_stream=True))
    front.wait(lambda: stream_id in front.answers)
    assert front.answers[stream_id] == "200"
    front.send(front.head(stream_id + 2, CALL) + factory.window_update(stream_id + 2, 0))
    front.wait(lambda: stream_id + 2 in front.answers)
    assert front.answers[stream_id + 2] == "reset 1"
    front.check_tunnel(b"tunnel")


def test_calls_that_are_cancelled_without_a_login_are_refused_after_a_while(origins: Origins) -> None:
    """Two thousand in a second cut the tunnel before; new streams are taken again a moment later."""
    end = pog.server({"POG_AUTH_A": item("a", "a")})
    login = ("authorization", basic("a", "a"))
    with end.program, Front(end.address, origins.start(echo).host_port, login) as front:
        for _ in range(100):
            wire = b""
            for _ in range(20):
                stream_id = front.next_stream()
                wire += front.head(stream_id, CALL) + factory.rst_stream(stream_id)
            front.send(wire)
        front.check_tunnel(b"tunnel")
        assert "reset 7" in front.answers.values()

        def served() -> bool:
            stream_id = front.next_stream()
            front.send(front.head(stream_id, PAGE, end_stream=True))
            front.wait(lambda: stream_id in front.answers)
            return front.answers[stream_id] == "200"

        deadline = time.monotonic() + SECONDS
        while not served():
            assert time.monotonic() < deadline
        front.check_tunnel(b"tunnel")


def test_a_packet_full_of_header_fields_leaves_others_their_turn(shared_server: pog.End, origins: Origins) -> None:
    """A hundred requests with 1,800 fields each, of a byte each, held up everybody for 1.7 s."""
    pair = pog.client(shared_server.host_port)
    # GET http, /, an authority, and then the field age, by their indexes in the static table (RFC 7541 appendix A).
    fields = b"\x82\x86\x84\x01\x01a" + b"\x95" * 1800
    with pair.program, connect(pair.address, origins.start(echo).host_port) as tunnel:
        with socket.create_connection(shared_server.address) as stranger:
            stranger.sendall(frames.PREFACE + factory.settings())
            wire = b"".join(factory.frame(frames.HEADERS, 5, 2 * number + 1, fields) for number in range(100))
            began = time.perf_counter()
            stranger.sendall(wire)
            echoes = []
            while time.perf_counter() - began < 0.5:
                sent = time.perf_counter()
                tunnel.send(b"x")
                assert tunnel.receive(1) == b"x"
                echoes.append(time.perf_counter() - sent)
    assert h2c.get(shared_server.address, "/healthz")[0] == 200
    assert max(echoes) < 0.5, max(echoes)
