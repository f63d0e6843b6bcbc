"""haproxy puts everybody's requests on one connection: a stranger's odd ones end nothing but themselves."""

import os
import random
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from hpack import Encoder

from pog.http2 import frames
from tests.helpers import pog
from tests.helpers.origin import Origins, echo
from tests.helpers.process import Program
from tests.helpers.stranger import OddRequest, odd_requests
from tests.helpers.user import SECONDS, Address, connect
from tests.http2 import factory
from tests.system.conftest import program

# One thread has one pool of connections to the server.
HAPROXY = """\
global
    maxconn 500
    nbthread 1
defaults
    mode http
    timeout connect 5s
    timeout client 30s
    timeout server 30s
    http-reuse always
frontend http2
    bind fd@{http2} proto h2
    default_backend pog
frontend http1
    bind fd@{http1}
    default_backend pog
backend pog
    server pog {server} proto h2
"""
REQUESTS = 1000


@contextmanager
def haproxy(server: str, folder: Path) -> Iterator[tuple[Address, Address]]:
    """Its addresses for HTTP/2 and for HTTP/1."""
    with socket.create_server(("127.0.0.1", 0)) as http2, socket.create_server(("127.0.0.1", 0)) as http1:
        for each in (http2, http1):
            os.set_inheritable(each.fileno(), True)
        config = folder / "haproxy.cfg"
        config.write_text(HAPROXY.format(http2=http2.fileno(), http1=http1.fileno(), server=server))
        addresses: tuple[Address, Address] = http2.getsockname(), http1.getsockname()
        box = Program([program("haproxy"), "-db", "-f", str(config)], fds=[http2.fileno(), http1.fileno()])
    try:
        yield addresses
        assert box.running(), box.output()
    finally:
        box.kill()


class Stranger:
    """Sends requests over HTTP/2, on a new connection whenever haproxy has ended the last one."""

    def __init__(self, front: Address) -> None:
        self._front = front
        self.connections = 0
        self._connect()

    def _connect(self) -> None:
        self.connections += 1
        self._sock = socket.create_connection(self._front, SECONDS)
        self._encoder = Encoder()
        self._stream_id = -1
        self._sock.sendall(frames.PREFACE + factory.settings({4: 1 << 20}) + factory.settings(ack=True))

    def send(self, request: OddRequest) -> None:
        """Returns when haproxy has taken it in, or has ended the connection for it."""
        self._stream_id += 2
        try:
            self._sock.sendall(request.encode(self._stream_id, self._encoder) + frames.ping(b"answered"))
            received = b""
            while b"answered" not in received:
                data = self._sock.recv(1 << 16)
                if not data:
                    raise ConnectionError
                received += data
        except OSError:
            self._again()

    def _again(self) -> None:
        self._sock.close()
        self._connect()

    def close(self) -> None:
        self._sock.close()


HEADS = [
    b"GET /healthz HTTP/1.0\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\nHost: \r\n\r\n",
    b"GET /healthz HTTP/1.1\r\nHost: a\r\nTE: trailers, deflate\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, x-odd\r\nX-Odd: 1\r\nKeep-Alive: 5\r\n\r\n",
    b"GET http://b/healthz HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST /grpc.health.v1.Health/Check HTTP/1.1\r\nHost: a\r\nContent-Length: 50\r\n\r\nabc",
    b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    b"BREW /pot HTTP/1.1\r\nHost: a\r\nAccept: \xe4\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\nHost: a\r\n" + b"X-Y: z\r\n" * 90 + b"\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: x\r\n\r\n3\r\nabc\r\n0\r\nx: y\r\n\r\n",
]


def speak_http1(front: Address, choose: random.Random) -> None:
    """One connection with one odd head; what comes back, if anything, is read to its end or left."""
    with socket.create_connection(front, SECONDS) as sock:
        sock.sendall(choose.choice(HEADS))
        if choose.random() < 0.8:
            sock.shutdown(socket.SHUT_WR)
            while sock.recv(1 << 16):
                pass


def test_a_users_tunnels_live_through_a_strangers_requests(origins: Origins, tmp_path: Path) -> None:
    server = pog.server()
    target = origins.start(echo).host_port
    with server.program, haproxy(server.host_port, tmp_path) as (http2, http1):
        client = pog.client("{}:{}".format(*http2))
        with client.program, ExitStack() as opened:
            tunnels = [opened.enter_context(connect(client.address, target)) for _ in range(3)]
            stranger, odd, choose = opened.enter_context(closing(Stranger(http2))), odd_requests(1), random.Random(1)
            for round_ in range(REQUESTS // 20):
                for _ in range(16):
                    stranger.send(next(odd))
                for _ in range(4):
                    speak_http1(http1, choose)
                for tunnel in tunnels:
                    tunnel.send(b"%04d" % round_)
                    assert tunnel.receive(4) == b"%04d" % round_
            found = server.metrics()
            assert found[pog.GAUGE] == 3
            # One connection of haproxy's carried it all, and the question for the metrics has another.
            assert found["http2_connections"] == 2
            assert found["http2_streams_opened_total"] > REQUESTS // 4
