"""The client reaches its server through other people's HTTP/2 proxies."""

import hashlib
import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest

from tests.conftest import Pair
from tests.helpers import pog, rpc
from tests.helpers.origin import Origins, blocks, dialogue, digest, echo, farewell, source, unused_port
from tests.helpers.process import ROOT, Program
from tests.helpers.tls import Authority
from tests.helpers.user import SECONDS, connect, send_head
from tests.helpers.watch import eventually
from tests.system.conftest import program

SIZE = 20_000_000

HAPROXY = """\
global
    maxconn 500
defaults
    mode http
    timeout connect 5s
    timeout client 30s
    timeout server 30s
frontend front
    bind fd@{fd}
    default_backend pog
backend pog
    http-reuse always
    server pog {server} proto h2 ws h1
"""

# No limit on a body that has no end, and none on its silence.
NGINX = """\
daemon off;
{user}
pid {folder}/pid;
error_log stderr warn;
events {{ worker_connections 500; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen {listen} http2 {tls};
        server_name {name};
        ssl_certificate {certificate};
        ssl_certificate_key {key};
        client_max_body_size 0;
        client_body_timeout 1h;
        grpc_read_timeout 1h;
        grpc_send_timeout 1h;
        location / {{ grpc_pass grpc://{server}; }}
    }}
}}
"""


@contextmanager
def haproxy(server: str, folder: Path) -> Iterator[str]:
    """haproxy in front of `server`, on a listening socket that it inherits."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        os.set_inheritable(listener.fileno(), True)
        config = folder / "haproxy.cfg"
        config.write_text(HAPROXY.format(fd=listener.fileno(), server=server))
        front = "{}:{}".format(*listener.getsockname())
        box = Program([program("haproxy"), "-db", "-f", str(config)], fds=[listener.fileno()])
    try:
        yield front
        assert box.running(), box.output()
    finally:
        box.kill()


@contextmanager
def nginx(server: str, folder: Path, authority: Authority, *, tls: bool = False) -> Iterator[str]:
    """nginx in front of `server`; it takes over the listening socket that its variable names."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        front = "{}:{}".format(*listener.getsockname())
        config = folder / "nginx.conf"
        config.write_text(
            NGINX.format(
                folder=folder,
                user="user root root;" if os.geteuid() == 0 else "",
                listen=front,
                tls="ssl" if tls else "",
                name="localhost",
                certificate=authority.cert_file,
                key=authority.key_file,
                server=server,
            )
        )
        fd = listener.fileno()
        command = [program("nginx"), "-p", str(folder), "-c", str(config), "-e", "stderr"]
        box = Program(command, {"NGINX": f"{fd};"}, fds=[fd])
    try:
        yield front
        assert box.running(), box.output()
    finally:
        box.kill()


@contextmanager
def behind_haproxy(server: str, folder: Path, authority: Authority) -> Iterator[tuple[str, dict[str, str]]]:
    with haproxy(server, folder) as front:
        yield front, {}


@contextmanager
def behind_nginx(server: str, folder: Path, authority: Authority) -> Iterator[tuple[str, dict[str, str]]]:
    with nginx(server, folder, authority) as front:
        yield front, {}


@contextmanager
def behind_nginx_with_tls(server: str, folder: Path, authority: Authority) -> Iterator[tuple[str, dict[str, str]]]:
    with nginx(server, folder, authority, tls=True) as front:
        port = front.rpartition(":")[2]
        yield f"localhost:{port}", {"INSECURE": "", "SSL_CERT_FILE": str(authority.ca_file)}


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(behind_haproxy, id="haproxy"),
        pytest.param(behind_nginx, id="nginx"),
        pytest.param(behind_nginx_with_tls, id="nginx-tls"),
    ],
)
def through(
    request: pytest.FixtureRequest,
    pair: Pair,
    authority: Authority,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Pair]:
    """A client whose server stands behind another program."""
    with request.param(pair.server.host_port, tmp_path_factory.mktemp("box"), authority) as (front, env):
        client = pog.client(front, env)
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
    """haproxy allows 100 streams on a connection, nginx 128."""
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


def test_a_strangers_websocket_leaves_tunnels_alone(pair: Pair, origins: Origins, tmp_path: Path) -> None:
    """Without `ws h1` haproxy resets a stream that it never opened, an error of the connection by RFC 9113 5.1."""
    with haproxy(pair.server.host_port, tmp_path) as front, rpc.channel(front) as opened, rpc.Tunnel(opened) as tunnel:
        tunnel.connect(origins.start(echo).host_port)
        assert not tunnel.next().connect_response.HasField("error")
        host, _, port = front.rpartition(":")
        with send_head((host, int(port)), WEBSOCKET) as answer:
            assert answer.status == 403
        tunnel.payload(b"abc")
        assert tunnel.next().payload == b"abc"


@pytest.mark.parametrize(("name", "config"), [("nginx", NGINX), ("haproxy", HAPROXY)])
def test_what_the_guide_says_about_a_front_is_what_is_tested(name: str, config: str) -> None:
    guide = (ROOT / "docs" / "operations.md").read_text()
    (block,) = re.findall(rf"```{name}\n(.*?)```", guide, re.DOTALL)
    lines = {line.partition("#")[0].strip().replace("HOST:8080", "{server}") for line in block.splitlines()}
    assert lines <= {line.strip().replace("{{", "{").replace("}}", "}") for line in config.splitlines()}


def test_a_box_without_a_server(tmp_path: Path, authority: Authority) -> None:
    """The box answers itself: 502 or 503 in HTTP, which is no gRPC; the user gets 503 with a reason."""
    for box in (behind_haproxy, behind_nginx):
        with box(f"127.0.0.1:{unused_port()}", tmp_path, authority) as (front, env):
            client = pog.client(front, env)
            with client.program, connect(client.address, "127.0.0.1:1") as answer:
                assert answer.status == 503, answer.head
                assert answer.fields["x-proxy-over-grpc-error"]


def test_grpcio_through_haproxy(pair: Pair, tmp_path: Path, authority: Authority) -> None:
    """An independent client through an independent proxy: only the server is ours."""
    with haproxy(pair.server.host_port, tmp_path) as front, rpc.channel(front) as opened:
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
