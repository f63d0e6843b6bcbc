"""Where a client listens: several endpoints at once, Unix domain sockets, sockets handed over, TLS."""

from __future__ import annotations

import re
import signal
import socket
import ssl
from typing import TYPE_CHECKING

import pytest

from tests.helpers import pog
from tests.helpers.origin import blocks, digest, echo, sink, source
from tests.helpers.process import Program
from tests.helpers.tls import Authority
from tests.helpers.user import SECONDS, Answer, connect, connect_head, get, read_answer

if TYPE_CHECKING:
    from pathlib import Path

    from tests.helpers.origin import Origin, Origins
    from tests.helpers.user import Address

MANY = 10 * 1_000_000


@pytest.fixture(scope="module")
def echoing(origins: Origins) -> Origin:
    return origins.start(echo)


def check_echo(tunnel: Answer) -> None:
    with tunnel:
        assert tunnel.status == 200
        tunnel.send(b"abc")
        assert tunnel.receive(3) == b"abc"
        tunnel.sock.shutdown(socket.SHUT_WR)
        assert tunnel.receive_all() == b""


def connect_unix(path: Path, target: str) -> Answer:
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(SECONDS)
    sock.connect(str(path))
    sock.sendall(connect_head(target))
    return read_answer(sock)


def connect_tls(proxy: Address, authority: Authority, target: str) -> Answer:
    """CONNECT inside TLS. Raises SSLError unless the proxy's certificate is from this authority."""
    context = authority.user_context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    sock = context.wrap_socket(socket.create_connection(proxy, SECONDS), server_hostname="localhost")
    assert sock.selected_alpn_protocol() == "http/1.1"
    sock.sendall(connect_head(target))
    return read_answer(sock)


def endpoints(program: Program) -> list[str]:
    return program.wait_line("^pog client on (.*)")[1].split(", ")


def port(endpoint: str) -> int:
    return int(endpoint.rpartition(":")[2])


def test_several_endpoints_at_once(shared_server: pog.End, tmp_path: Path, echoing: Origin) -> None:
    """A flag may be repeated, and hold a list; what a user reaches first does not differ."""
    path = tmp_path / "pog.sock"
    args = ("--listen", "127.0.0.1:0,[::1]:0", "--listen", f"unix:{path}")
    client = pog.client(shared_server.host_port, {}, *args)
    with client.program:
        v4, v6, unix = endpoints(client.program)
        check_echo(connect(("127.0.0.1", port(v4)), echoing.host_port))
        check_echo(connect(("::1", port(v6)), echoing.host_port))
        check_echo(connect_unix(path, echoing.host_port))
        assert unix == f"unix:{path}"
        client.program.wait_line(rf"^pog: {echoing.host_port} anonymous HTTPS \[::1\]:\d+ .* 200$")
        client.program.wait_line(rf"^pog: {echoing.host_port} anonymous HTTPS - .* 200$")
        assert "OPEN PROXY" not in client.program.output()
    assert not path.exists()


def test_by_default_both_families_of_loopback(shared_server: pog.End) -> None:
    """The port of the default may be in use on the machine that runs the tests: then both addresses are named."""
    with Program([*pog.POG, "client"], {"SERVER_ADDR": shared_server.host_port, "INSECURE": "1"}) as program:
        said = program.wait_line(r"pog client on 127\.0\.0\.1:18080, \[::1\]:18080$|cannot listen on (.*):18080")
        if "cannot listen" in said[0]:
            pytest.skip("port 18080 is in use")


@pytest.mark.parametrize("family", ["inet", "unix"])
def test_a_socket_handed_over(shared_server: pog.End, tmp_path: Path, echoing: Origin, family: str) -> None:
    path = tmp_path / "pog.sock"
    if family == "inet":
        sock = socket.create_server(("127.0.0.1", 0))
    else:
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(str(path))
        sock.listen()
    with sock, pog.client_on(sock, shared_server.host_port, {"CLIENT_LISTEN": "127.0.0.1:1"}) as program:
        program.wait_line("in place of CLIENT_LISTEN")
        if family == "inet":
            assert endpoints(program) == ["{}:{}".format(*sock.getsockname())]
            check_echo(connect(sock.getsockname(), echoing.host_port))
        else:
            assert endpoints(program) == [f"unix:{path}"]
            check_echo(connect_unix(path, echoing.host_port))
            path.unlink()


def test_an_https_proxy(shared_server: pog.End, authority: Authority, origins: Origins, echoing: Origin) -> None:
    env = {
        "CLIENT_LISTEN": "127.0.0.1:0,https://127.0.0.1:0",
        "CLIENT_TLS_CERT": str(authority.cert_file),
        "CLIENT_TLS_KEY": str(authority.key_file),
    }
    client = pog.client(shared_server.host_port, env)
    with client.program:
        plain, tls = endpoints(client.program)
        assert tls.startswith("https://127.0.0.1:")
        address = ("127.0.0.1", port(tls))
        check_echo(connect(("127.0.0.1", port(plain)), echoing.host_port))
        with connect_tls(address, authority, echoing.host_port) as tunnel:
            tunnel.send(b"abc")
            assert tunnel.receive(3) == b"abc"
        with connect_tls(address, authority, origins.start(source(MANY)).host_port) as tunnel:
            assert tunnel.receive_digest() == (MANY, digest(MANY))
        with connect_tls(address, authority, origins.start(sink(MANY)).host_port) as tunnel:
            tunnel.send(b"".join(blocks(MANY)))
            assert tunnel.receive_all().decode() == digest(MANY)
        with connect_tls(address, authority, "0.0.0.0:1") as refused:
            assert refused.status == 403
            assert "0.0.0.0" in refused.body
            assert refused.receive_all() == b"", "the end is said in TLS"
        # Who does not speak TLS there is turned away, and harms nobody.
        with pytest.raises(OSError):
            get(address, "/")
        client.program.wait_line("TLS with 127.0.0.1:.* failed: this endpoint is TLS; its address as a proxy begins")
        check_echo_tls(address, authority, echoing)
    assert not re.search("ssl|SSL|Traceback|eof_received", client.program.output()), client.program.output()


def check_echo_tls(address: Address, authority: Authority, echoing: Origin) -> None:
    with connect_tls(address, authority, echoing.host_port) as tunnel:
        tunnel.send(b"abc")
        assert tunnel.receive(3) == b"abc"
        assert isinstance(tunnel.sock, ssl.SSLSocket)
        tunnel.sock.unwrap()  # says the end in TLS, and waits for the proxy's


def test_a_new_certificate_after_sighup(
    shared_server: pog.End, tmp_path_factory: pytest.TempPathFactory, echoing: Origin
) -> None:
    first, second = (Authority(tmp_path_factory.mktemp("tls")) for _ in range(2))
    env = {
        "CLIENT_LISTEN": "127.0.0.1:0,https://127.0.0.1:0",
        "CLIENT_TLS_CERT": str(first.cert_file),
        "CLIENT_TLS_KEY": str(first.key_file),
    }
    client = pog.client(shared_server.host_port, env)
    with client.program:
        address = ("127.0.0.1", port(endpoints(client.program)[1]))
        with connect_tls(address, first, echoing.host_port) as tunnel:
            first.cert_file.write_bytes(second.cert_file.read_bytes())
            client.program.send_signal(signal.SIGHUP)
            client.program.wait_line(f"SIGHUP: the certificate stays as it was: {first.key_file}: is not the key of")
            check_echo_tls(address, first, echoing)
            first.key_file.write_bytes(second.key_file.read_bytes())
            client.program.send_signal(signal.SIGHUP)
            client.program.wait_line("SIGHUP: the certificate was read again")
            check_echo_tls(address, second, echoing)
            with pytest.raises(ssl.SSLCertVerificationError):
                connect_tls(address, first, echoing.host_port)
            tunnel.send(b"still")
            assert tunnel.receive(5) == b"still"


@pytest.mark.parametrize(
    ("env", "problem"),
    [
        ({"CLIENT_LISTEN": "https://127.0.0.1:0"}, "CLIENT_TLS_CERT: is not set; https:// in CLIENT_LISTEN needs it"),
        ({"CLIENT_TLS_CERT": "/dev/null"}, "CLIENT_TLS_CERT: is used by no endpoint"),
        ({"CLIENT_LISTEN": "127.0.0.1:0,"}, r"CLIENT_LISTEN: must be \[host\]:port or unix:/path, several joined"),
        ({"CLIENT_LISTEN": "unix:/no/such/folder/pog"}, "cannot listen on unix:/no/such/folder/pog: No such file"),
    ],
)
def test_what_is_wrong_is_said_at_the_start(shared_server: pog.End, env: dict[str, str], problem: str) -> None:
    program = Program([*pog.POG, "client"], {"SERVER_ADDR": shared_server.host_port, "INSECURE": "1"} | env)
    try:
        program.wait_line(problem)
    finally:
        program.kill()
