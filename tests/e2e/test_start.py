"""Three ways to start, each one port for HTTP/1.1, HTTP/2 in plain text and gRPC; and how each ends."""

import http.client
import re
import signal
import socket
import ssl
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import grpc
import pytest

from tests.helpers import h2c, pog, rpc
from tests.helpers.items import item
from tests.helpers.known_faults import LATE_DATA
from tests.helpers.origin import Origins, echo
from tests.helpers.process import Program
from tests.helpers.tls import Authority, PlainAuthority
from tests.helpers.user import Address, connect, get
from tests.helpers.watch import eventually


def up_server(env: dict[str, str] | None = None) -> pog.End:
    return pog.up(env)[0]


WAYS = [
    pytest.param(pog.server, id="pog-server"),
    pytest.param(pog.hypercorn, id="hypercorn"),
    pytest.param(up_server, id="pog-up"),
]
Way = Callable[[], pog.End]


@pytest.mark.parametrize("start", WAYS)
def test_one_port_speaks_everything(start: Way, origins: Origins) -> None:
    end = start()
    with end.program:
        for path in ("/healthz", "/health", "/readyz"):
            assert get(end.address, path)[0] == 200
            assert h2c.get(end.address, path)[0] == 200
        assert "tunnelling_connections_total 0" in get(end.address, "/metrics")[1]
        assert "tunnelling_connections_total 0" in h2c.get(end.address, "/metrics")[1]
        assert get(end.address, "/nothing")[0] == 404
        assert h2c.get(end.address, "/nothing")[0] == 404
        about = get(end.address, "/")
        assert about[0] == 200
        assert "pog client" in about[1]
        with rpc.channel(end.host_port) as opened, rpc.Tunnel(opened) as tunnel:
            assert rpc.health(opened)["app"] == "proxy-over-grpc server"
            tunnel.connect(origins.start(echo).host_port)
            assert not tunnel.next().connect_response.HasField("error")
            tunnel.payload(b"abc")
            assert tunnel.next().payload == b"abc"


@pytest.mark.parametrize("target", ["example.com:443", "127.0.0.1:80", "[::1]:22"])
def test_a_program_that_takes_the_server_for_its_proxy_is_told_what_to_run(target: str) -> None:
    end = pog.server()
    with end.program, closing(http.client.HTTPConnection(*end.address, timeout=10)) as program:
        program.request("CONNECT", target)
        answer = program.getresponse()
        assert answer.status == 501
        assert "run pog client" in (answer.headers["proxy-status"] or "")
        assert b"run pog client" in answer.read()


@pytest.mark.parametrize("start", WAYS)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["term", "int"])
def test_a_signal_ends_it_with_status_0(start: Way, number: signal.Signals) -> None:
    end = start()
    end.program.send_signal(number)
    assert end.program.wait() == 0, end.program.output()
    end.program.check_output()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_bad_setting_under_hypercorn_is_one_line(workers: str) -> None:
    """Its status is 0 all the same, which is the parent's doing."""
    command = [pog.HYPERCORN, "pog.server:app", "--bind", pog.ANY_PORT, "--workers", workers]
    program = Program(command, {"PORT": "abc"})
    program.wait()
    assert set(program.stdout + program.stderr) == {"pog: PORT: must be a port number from 0 to 65535, not 'abc'"}


# Runs pog, and interrupts it when it imports what its first argument names.
INTERRUPTED = """
import os, runpy, signal, sys
class Interrupts:
    def find_spec(self, name, *_):
        if name == where:
            os.kill(os.getpid(), signal.SIGINT)
where = sys.argv.pop(1)
sys.meta_path.insert(0, Interrupts())
runpy.run_module("pog", run_name="__main__", alter_sys=True)
"""


@pytest.mark.parametrize(
    "where", ["click", "pog.config.settings", "pog.process.run", "pog.server.serve", "hypercorn", "uvloop"]
)
def test_an_interrupt_during_the_start_is_quiet(where: str) -> None:
    program = Program([sys.executable, "-c", INTERRUPTED, where, "server", "--listen", pog.ANY_PORT])
    assert program.wait() == 128 + signal.SIGINT, program.output()
    assert program.stdout + program.stderr == []


def test_a_client_of_hypercorn(origins: Origins) -> None:
    server = pog.hypercorn()
    with server.program:
        client = pog.client(server.host_port)
        with client.program, connect(client.address, origins.start(echo).host_port) as tunnel:
            tunnel.send(b"abc")
            assert tunnel.receive(3) == b"abc"
            tunnel.half_close()
            assert tunnel.receive_all() == b""


def test_tls_at_hypercorn(origins: Origins, authority: Authority) -> None:
    """The client verifies with SSL_CERT_FILE, refuses what it cannot verify, and can be told not to care."""
    files = ("--certfile", str(authority.cert_file), "--keyfile", str(authority.key_file))
    server = pog.hypercorn(None, *files)
    target = origins.start(echo).host_port
    with server.program:
        for env, status in (
            ({"SSL_CERT_FILE": str(authority.ca_file)}, 200),
            ({"SSL_CERT_FILE": str(authority.ca_file), "SERVER_HOST": "localhost"}, 200),
            ({"SSL_CERT_FILE": str(authority.ca_file), "SERVER_HOST": "pog.example"}, 503),
            ({"SSL_CERT_FILE": str(authority.ca_file), "SERVER_HOST": "localhost."}, 200),  # an absolute name
            ({"SSL_CERT_FILE": marked(authority.ca_file, "utf-16")}, 200),
            ({"SSL_CERT_FILE": marked(authority.ca_file, "utf-8-sig")}, 200),
            ({}, 503),
            ({"SKIP_VERIFY": "1", "SSL_CERT_FILE": "/nonexistent/ca.pem"}, 200),
        ):
            client = pog.client(server.host_port, {"INSECURE": "", "EXIT_WAIT": "0.5", **env})
            with client.program, connect(client.address, target) as tunnel:
                assert tunnel.status == status, (env, tunnel.head)
                unverified = [line for line in client.program.stderr if "WARNING" in line and "SKIP_VERIFY" in line]
                assert bool(unverified) is ("SKIP_VERIFY" in env)
                if status == 503:
                    assert "certificate" in tunnel.fields["x-proxy-over-grpc-error"].lower()


def marked(file: Path, encoding: str) -> str:
    """The path of a copy with a byte order mark, as PowerShell writes it."""
    copy = file.with_name(f"{encoding}.pem")
    copy.write_text(file.read_text(), encoding)
    return str(copy)


def test_an_authority_made_by_plain_openssl(origins: Origins, tmp_path: Path) -> None:
    """On every version of Python: 3.13 has VERIFY_X509_STRICT by default."""
    own = PlainAuthority(tmp_path)
    server = pog.hypercorn(None, "--certfile", str(own.cert_file), "--keyfile", str(own.key_file))
    with server.program:
        client = pog.client(server.host_port, {"INSECURE": "", "SSL_CERT_FILE": str(own.ca_file)})
        with client.program, connect(client.address, origins.start(echo).host_port) as tunnel:
            assert tunnel.status == 200, tunnel.head


def test_a_silent_connection_before_tls_does_not_hold_the_end_up(authority: Authority) -> None:
    """On every version of Python: from 3.12 on Hypercorn waits for it, for 60 s."""
    files = ("--certfile", str(authority.cert_file), "--keyfile", str(authority.key_file))
    server = pog.hypercorn(None, *files)
    with server.program, socket.create_connection(server.address) as silent:
        # That another one has been served shows that the silent one was accepted before.
        user = ssl.create_default_context(cafile=str(authority.ca_file))
        with socket.create_connection(server.address) as sock, user.wrap_socket(sock, server_hostname="localhost"):
            pass
        server.program.stop()
        assert silent.recv(1) == b""


@pytest.mark.parametrize(
    ("command", "env", "problem"),
    [
        ("client", {"SERVER_HOST": "https://pog.example"}, "SERVER_HOST: must be host or host:port without a scheme"),
        ("client", {"SERVER_HOST": '"pog.example"'}, "SERVER_HOST: must be host or host:port"),
        ("client", {"SERVER_HOST": "pog..example"}, "SERVER_HOST: must be host or host:port"),
        ("client", {"SERVER_ADDR": "pog..example:443"}, "SERVER_ADDR: must be host:port"),
        ("client", {"CLIENT_POG_AUTH": "me:two\nlines"}, "CLIENT_POG_AUTH: must be user:password"),
        ("client", {"CLIENT_LISTEN": "a..b:1"}, "CLIENT_LISTEN: must be [host]:port"),
        ("server", {"SERVER_LISTEN": "' :8080'"}, "SERVER_LISTEN: must be [host]:port"),
        (
            "server",
            {"POG_AUTH_FILE": "/nonexistent/items"},
            "POG_AUTH_FILE: must be .*: /nonexistent/items: cannot be read",
        ),
        (
            "client",
            {"SSLKEYLOGFILE": "/nonexistent/x"},
            "SSLKEYLOGFILE: /nonexistent/x cannot be written: No such file",
        ),
        (
            "client",
            {"SSL_CERT_FILE": "/nonexistent/x"},
            "SSL_CERT_FILE: must be .*: /nonexistent/x: cannot be read: No such",
        ),
        ("client", {"SSL_CERT_FILE": "/dev/null"}, "SSL_CERT_FILE: must be .*; there is none in /dev/null"),
        ("client", {"SSL_CERT_DIR": "/nonexistent"}, "SSL_CERT_DIR: must be .*; there is none at /nonexistent"),
    ],
)
def test_a_setting_without_its_grammar_ends_the_start_with_its_name(
    command: str, env: dict[str, str], problem: str
) -> None:
    defaults = {"SERVER_ADDR": "127.0.0.1:1", "CLIENT_LISTEN": pog.ANY_PORT, "SERVER_LISTEN": pog.ANY_PORT}
    program = Program([*pog.POG, command], defaults | env)
    assert program.wait() == 2, program.output()
    (line,) = program.stderr
    assert re.match(f"pog: {problem}".replace("[", r"\["), line), line


def test_a_login_from_a_file_is_taken_without_its_line_end(origins: Origins) -> None:
    env = {"POG_AUTH_ME": item("me", "secret")}
    server = pog.server(env)
    with server.program:
        client = pog.client(server.host_port, {"CLIENT_POG_AUTH": "me:secret\n"})
        with client.program, connect(client.address, origins.start(echo).host_port) as tunnel:
            assert tunnel.status == 200, tunnel.head


def test_plain_text_to_a_tls_port_says_so(authority: Authority) -> None:
    files = ("--certfile", str(authority.cert_file), "--keyfile", str(authority.key_file))
    server = pog.hypercorn(None, *files)
    with server.program:
        client = pog.client(server.host_port, {"EXIT_WAIT": "60"})
        with client.program, connect(client.address, "127.0.0.1:1") as answer:
            assert answer.status == 503
            assert "speaks TLS: leave INSECURE out" in answer.body


def test_what_lasts_is_told_at_once_and_a_mended_server_is_found_at_once(
    origins: Origins, authority: Authority
) -> None:
    """TLS to a port in cleartext; then, in its place, a server with TLS: nobody waits for EXIT_WAIT or a back-off."""
    target = origins.start(echo).host_port
    wrong = pog.server()
    with wrong.program:
        env = {"INSECURE": "", "EXIT_WAIT": "60", "SSL_CERT_FILE": str(authority.ca_file)}
        client = pog.client(wrong.host_port, env)
        with client.program:
            for _ in range(5):  # after so many failures the back-off would be over 5 s
                with connect(client.address, target) as answer:
                    assert (answer.status, answer.fields["proxy-status"].partition("; ")[2].partition(";")[0]) == (
                        503,
                        "error=proxy_configuration_error",
                    )
                    assert "set INSECURE=1" in answer.body
            client.program.wait_line(r"WARNING .*cannot connect: .*set INSECURE=1")
            wrong.program.stop()
            files = ("--certfile", str(authority.cert_file), "--keyfile", str(authority.key_file))
            right = pog.hypercorn(None, "--bind", wrong.host_port, *files)
            with right.program:
                eventually(lambda: opens(client.address, target))


def opens(proxy: Address, target: str) -> None:
    with connect(proxy, target) as tunnel:
        assert tunnel.status == 200, tunnel.body


def test_pog_up_prints_a_line_to_paste(origins: Origins) -> None:
    server, client = pog.up()
    with server.program:
        assert server.program.wait_line(rf"curl .*http://{re.escape(client.host_port)}")
        target = origins.start(echo).host_port
        with connect(client.address, target) as tunnel:
            tunnel.send(b"abc")
            assert tunnel.receive(3) == b"abc"
    lines = [line for line in server.program.stdout if line.startswith(f"pog: {target} ")]
    assert len(lines) == 1, "a tunnel is told once"


@pytest.mark.parametrize("args", [["server", "--workers", "2"], ["server"], ["client", "--server-addr", "a:1"], ["up"]])
def test_a_port_that_is_taken_names_the_flag(args: list[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = "{}:{}".format(*taken.getsockname())
        program = Program([*pog.POG, *args, "--listen", address])
        assert program.wait() == 1, program.output()
    flags = "--listen or --port" if "server" in args else "--listen"
    line = f"pog: cannot listen on {address}: Address already in use; choose another place with {flags}"
    assert program.stderr[-1] == line


def test_grpc_alone(origins: Origins) -> None:
    """GRPC_AND_HTTP_MUX=0: the services without the pages."""
    server = pog.server({"GRPC_AND_HTTP_MUX": "0"})
    with server.program:
        assert get(server.address, "/metrics")[0] == 404
        assert h2c.get(server.address, "/healthz") == (404, "")
        client = pog.client(server.host_port)
        with client.program, connect(client.address, origins.start(echo).host_port) as tunnel:
            tunnel.send(b"abc")
            assert tunnel.receive(3) == b"abc"
            tunnel.half_close()
            assert tunnel.receive_all() == b""
        with rpc.channel(server.host_port) as opened:
            assert rpc.health(opened)["version"]


@LATE_DATA
def test_stacks_are_served_only_when_asked_for() -> None:
    server = pog.server({"STACKS": ""})
    with server.program, rpc.channel(server.host_port) as opened:
        with pytest.raises(grpc.RpcError) as caught:
            rpc.stacks(opened)
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
