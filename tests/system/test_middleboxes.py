"""The client reaches its server through other people's HTTP/2 proxies."""

import hashlib
import http.client
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import grpc
import pytest

from tests.conftest import Pair
from tests.helpers import pog, rpc
from tests.helpers.origin import Origins, blocks, dialogue, digest, echo, farewell, source, unused_port
from tests.helpers.tls import Authority
from tests.helpers.user import SECONDS, connect, send_head
from tests.helpers.watch import eventually
from tests.system.fronts import caddy, haproxy, nginx, nginx_of

SIZE = 20_000_000
Start = Callable[[str, Path, Authority], AbstractContextManager[str]]
FRONTS = [pytest.param(each, id=each.__name__) for each in (haproxy, nginx, caddy)]


def client_of(front: str, authority: Authority) -> pog.End:
    return pog.client(front, {"INSECURE": "", "SERVER_CA_FILE": str(authority.ca_file)})


@pytest.fixture(
    scope="module",
    params=FRONTS,
)
def through(
    request: pytest.FixtureRequest,
    pair: Pair,
    authority: Authority,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Pair]:
    """A client whose server stands behind another program, set up by our file for it."""
    with request.param(pair.server.host_port, tmp_path_factory.mktemp("box"), authority) as front:
        client = client_of(front, authority)
        with client.program:
            yield Pair(client, pair.server)


def test_echo(through: Pair, origins: Origins) -> None:
    target = origins.start(echo).host_port
    for _ in range(10):
        with connect(through.client.address, target, early=b"early") as tunnel:
            assert tunnel.status == 200
            assert tunnel.receive(5) == b"early"
            for number in range(20):
                tunnel.send(b"%d" % number)
                assert tunnel.receive(len(b"%d" % number)) == b"%d" % number


def test_much_down(through: Pair, origins: Origins) -> None:
    with connect(through.client.address, origins.start(source(SIZE)).host_port) as tunnel:
        assert tunnel.receive_digest() == (SIZE, digest(SIZE))


def test_much_up_and_then_the_answer(through: Pair, origins: Origins) -> None:
    with connect(through.client.address, origins.start(dialogue).host_port) as tunnel:
        for block in blocks(SIZE):
            tunnel.send(block)
        tunnel.half_close()
        assert tunnel.receive_all().decode() == f"{SIZE} {digest(SIZE)}"


def test_the_destination_ends_first(through: Pair, origins: Origins) -> None:
    origin = origins.start(farewell)
    with connect(through.client.address, origin.host_port) as tunnel:
        assert tunnel.receive_all() == b"bye"
        tunnel.send(b"still here")
    eventually(lambda: check_at_rest(through, origin.live))


def check_at_rest(ends: Pair, live: int) -> None:
    assert (ends.client.tunnels(), ends.server.tunnels(), live) == (0, 0, 0)


def test_a_refusal_keeps_its_reason(through: Pair) -> None:
    with connect(through.client.address, f"127.0.0.1:{unused_port()}") as answer:
        assert answer.status == 502
        assert "refused the connection" in answer.fields["x-proxy-over-grpc-error"]


def test_the_user_goes(through: Pair, origins: Origins) -> None:
    origin = origins.start(echo)
    with connect(through.client.address, origin.host_port, early=b"abc") as tunnel:
        assert tunnel.receive(3) == b"abc"
        assert through.server.tunnels() == 1
    eventually(lambda: check_at_rest(through, origin.live))


def test_more_tunnels_than_streams(through: Pair, origins: Origins) -> None:
    """haproxy allows 100 streams on a connection, Caddy 250; nginx, as our file has it, 1000."""
    target = origins.start(echo).host_port
    tunnels = [connect(through.client.address, target) for _ in range(150)]
    try:
        for number, tunnel in enumerate(tunnels):
            assert tunnel.status == 200, tunnel.head
            tunnel.send(b"%03d" % number)
        for number, tunnel in enumerate(tunnels):
            assert tunnel.receive(3) == b"%03d" % number
    finally:
        for tunnel in tunnels:
            tunnel.close()
    eventually(lambda: check_at_rest(through, 0))


WEBSOCKET = (
    b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


def test_a_strangers_websocket_leaves_tunnels_alone(
    pair: Pair, origins: Origins, authority: Authority, tmp_path: Path
) -> None:
    """Without `ws h1` haproxy resets a stream that it never opened, an error of the connection by RFC 9113 5.1."""
    server = pair.server.host_port
    with (
        haproxy(server, tmp_path, authority, tls=False) as front,
        rpc.channel(front) as opened,
        rpc.Tunnel(opened) as tunnel,
    ):
        tunnel.connect(origins.start(echo).host_port)
        assert not tunnel.next().connect_response.HasField("error")
        host, _, port = front.rpartition(":")
        with send_head((host, int(port)), WEBSOCKET) as answer:
            assert answer.status == 403
        tunnel.payload(b"abc")
        assert tunnel.next().payload == b"abc"


@pytest.mark.parametrize("start", FRONTS)
def test_a_box_without_a_server(start: Start, tmp_path: Path, authority: Authority) -> None:
    """The box answers itself: 502 or 503 in HTTP, which is no gRPC; the user gets 503 with a reason."""
    with start(f"127.0.0.1:{unused_port()}", tmp_path, authority) as front:
        client = client_of(front, authority)
        with client.program, connect(client.address, "127.0.0.1:1") as answer:
            assert answer.status == 503, answer.head
            assert answer.fields["x-proxy-over-grpc-error"]


@pytest.mark.parametrize("start", FRONTS)
def test_pages_and_metrics(start: Start, pair: Pair, tmp_path: Path, authority: Authority) -> None:
    """Browsers and load balancers see that it lives; its numbers are not for the network."""
    with start(pair.server.host_port, tmp_path, authority) as front:
        for path, status in (("/healthz", 200), ("/metrics", 404), ("/%6Detrics", 404), ("/metrics?x", 404)):
            assert page(front, authority, path) == status


def page(front: str, authority: Authority, path: str) -> int:
    host, _, port = front.partition(":")
    connection = http.client.HTTPSConnection(host, int(port), timeout=SECONDS, context=authority.user_context())
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.mark.parametrize("start", FRONTS)
def test_the_log_has_the_address_of_the_client(start: Start, tmp_path: Path, authority: Authority) -> None:
    """What a client claims of itself is not passed on."""
    server = pog.server({"LOG_FORMAT": "json"})
    with server.program, start(server.host_port, tmp_path, authority) as front:
        client = client_of(front, authority)
        with client.program, connect(client.address, f"127.0.0.1:{unused_port()}") as answer:
            assert answer.status == 502
        assert '"forwarded_for":"127.0.0.1"' in server.program.wait_line("forwarded_for").string


NGINX_AS_IT_COMES = """
server {{
    listen {listen} http2;
    location / {{ {pass_} }}
}}
"""


@pytest.mark.parametrize("listens", ["PORT", "hypercorn"])
@pytest.mark.parametrize("scheme", ["grpc_pass grpc", "proxy_pass http"])
def test_nginx_with_its_defaults_opens_no_server_without_users(
    scheme: str, listens: str, tmp_path: Path, origins: Origins
) -> None:
    """Every peer of the server is 127.0.0.1 there, whatever client comes from the network."""
    origin, port = origins.start(echo), unused_port()
    if listens == "PORT":
        server = pog.server({"SERVER_LISTEN": "", "PORT": str(port)})
    else:
        server = pog.hypercorn({}, "--bind", f"0.0.0.0:{port}")
    with server.program, socket.create_server(("127.0.0.1", 0)) as listener:
        listen = "{}:{}".format(*listener.getsockname())
        servers = NGINX_AS_IT_COMES.format(listen=listen, pass_=f"{scheme}://127.0.0.1:{port};")
        with nginx_of(servers, tmp_path, listener), rpc.channel(listen) as opened, rpc.Tunnel(opened) as tunnel:
            tunnel.connect(origin.host_port)
            tunnel.end()  # by proxy_pass nginx sends nothing on before it has everything
            code, text = tunnel.status()
            assert code is not grpc.StatusCode.OK
            assert "POG_OPEN=1" in text or scheme.startswith("proxy_pass")
            if scheme.startswith("grpc_pass"):
                client = pog.client(listen)
                with client.program, connect(client.address, origin.host_port) as answer:
                    assert answer.status == 503
                    assert "POG_OPEN=1" in answer.fields["x-proxy-over-grpc-error"]
    assert origin.accepted == 0


def test_grpcio_through_haproxy(pair: Pair, tmp_path: Path, authority: Authority) -> None:
    """An independent client through an independent proxy: only the server is ours."""
    with haproxy(pair.server.host_port, tmp_path, authority, tls=False) as front, rpc.channel(front) as opened:
        assert rpc.health(opened)["app"]
        with pytest.raises(grpc.RpcError) as caught:
            opened.unary_unary("/nobody.Knows/It")(b"", timeout=SECONDS)
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_data_is_whole_at_the_end_of_a_short_tunnel(through: Pair, origins: Origins) -> None:
    """The trailers must not overtake or cut the last bytes."""
    target, expected = origins.start(source(100_000)).host_port, hashlib.sha256(b"".join(blocks(100_000))).hexdigest()
    for _ in range(30):
        with connect(through.client.address, target) as tunnel:
            assert tunnel.receive_digest() == (100_000, expected)
