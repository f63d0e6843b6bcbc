"""TLS at `pog server`: one port for gRPC and pages, a certificate that is exchanged, and a key that a client pins."""

from __future__ import annotations

import signal
import socket
import ssl
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.helpers import pog
from tests.helpers.known_faults import LATE_DATA
from tests.helpers.origin import Origins, blocks, dialogue, digest, echo, source
from tests.helpers.process import Program
from tests.helpers.tls import Authority
from tests.helpers.user import SECONDS, Answer, connect
from tests.helpers.watch import eventually

if TYPE_CHECKING:
    from pathlib import Path

SIZE = 3_000_000


def files(authority: Authority) -> dict[str, str]:
    return {"SERVER_TLS_CERT": str(authority.cert_file), "SERVER_TLS_KEY": str(authority.key_file)}


def client(server: pog.End, env: dict[str, str]) -> pog.End:
    return pog.client(server.host_port, {"INSECURE": "", "EXIT_WAIT": "0.5", **env})


def check_echo(tunnel: Answer) -> None:
    with tunnel:
        assert tunnel.status == 200, tunnel.head
        tunnel.send(b"abc")
        assert tunnel.receive(3) == b"abc"
        tunnel.half_close()
        assert tunnel.receive_all() == b""


def speaks(server: pog.End, authority: Authority, *alpn: str) -> str | None:
    """What a handshake agrees on. Raises SSLError for a certificate of another authority."""
    context = authority.user_context()
    context.set_alpn_protocols(alpn)
    with (
        socket.create_connection(server.address, SECONDS) as sock,
        context.wrap_socket(sock, server_hostname="localhost") as tls,
    ):
        return tls.selected_alpn_protocol()


@pytest.mark.parametrize("args", [(), ("--workers", "2")], ids=["one process", "workers"])
def test_everything_goes_over_tls(args: tuple[str, ...], authority: Authority, origins: Origins) -> None:
    server = pog.server(files(authority), *args)
    with server.program:
        server.program.wait_line("^pog server on https://127.0.0.1:")
        assert speaks(server, authority, "h2", "http/1.1") == "h2"
        assert speaks(server, authority, "http/1.1") == "http/1.1"
        context = authority.user_context()
        with (
            socket.create_connection(server.address, SECONDS) as sock,
            context.wrap_socket(sock, server_hostname="localhost") as tls,
        ):
            tls.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            assert tls.recv(1000).startswith(b"HTTP/1.1 200 ")
        end = client(server, {"SERVER_CA_FILE": str(authority.ca_file)})
        with end.program:
            check_echo(connect(end.address, origins.start(echo).host_port))
            with connect(end.address, origins.start(source(SIZE)).host_port) as tunnel:
                assert tunnel.receive_digest() == (SIZE, digest(SIZE))
            with connect(end.address, origins.start(dialogue).host_port) as tunnel:
                for block in blocks(SIZE):
                    tunnel.send(block)
                tunnel.half_close()
                assert tunnel.receive_all().decode() == f"{SIZE} {digest(SIZE)}"


def test_who_is_trusted(authority: Authority, origins: Origins, tmp_path: Path) -> None:
    target, other = origins.start(echo).host_port, Authority(tmp_path)
    server = pog.server(files(authority))
    with server.program:
        pin = server.program.wait_line(r"key (sha256//\S+)")[1]
        wrong = "sha256//" + 43 * "A" + "="
        for env, problem in (
            ({"SERVER_CA_FILE": str(other.ca_file)}, "certificate"),
            ({"SERVER_FINGERPRINT": f"{wrong},{pin}", "SERVER_HOST": "another.example"}, ""),
            ({"SERVER_FINGERPRINT": wrong, "SKIP_VERIFY": "1"}, "another key than SERVER_FINGERPRINT"),
            ({"SERVER_FINGERPRINT": wrong, "SERVER_CA_FILE": str(authority.ca_file)}, "another key"),
            ({"SERVER_FINGERPRINT": pin, "SERVER_CA_FILE": str(other.ca_file)}, "certificate"),
        ):
            end = client(server, env)
            with end.program, connect(end.address, target) as answer:
                assert answer.status == (503 if problem else 200), (env, answer.head)
                assert problem in answer.fields.get("x-proxy-over-grpc-error", "")


def test_the_exit_of_a_file(authority: Authority, origins: Origins, tmp_path: Path) -> None:
    server = pog.server(files(authority))
    with server.program:
        config = tmp_path / "pog.toml"
        config.write_text(
            f'[[exits]]\nname = "west"\nserver = "{server.host_port}"\ntls.ca_file = "{authority.ca_file}"\n'
        )
        end = pog.client("", {"POG_CONFIG": str(config), "INSECURE": ""})
        with end.program:
            check_echo(connect(end.address, origins.start(echo).host_port))


@pytest.mark.parametrize("args", [(), ("--workers", "2")], ids=["one process", "workers"])
def test_a_self_signed_key_stays(args: tuple[str, ...], origins: Origins, tmp_path: Path) -> None:
    env = {"SERVER_TLS_SELF_SIGNED": "1", "XDG_STATE_HOME": str(tmp_path)}
    pins: list[str] = []
    for start in (1, 2):
        server = pog.server(env, *args)
        with server.program:
            said = server.program.wait_line(r"self-signed, .* (/\S+); clients need --server-fingerprint (sha256//\S+)")
            pins.append(said[2])
            assert [line for line in server.program.stderr if "clients need" in line] == [said.string]
            if start == 1:
                continue
            end = client(server, {"SERVER_FINGERPRINT": pins[0]})
            with end.program:
                check_echo(connect(end.address, origins.start(echo).host_port))
            command = [*pog.POG, "health", server.host_port, "--server-fingerprint", pins[0]]
            assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "SERVING\n"
    assert pins[0] == pins[1]
    assert said[1] == str(tmp_path / "pog" / "server.pem")


@pytest.mark.parametrize("args", [(), ("--workers", "2")], ids=["one process", "workers"])
def test_a_new_certificate_after_sighup(
    args: tuple[str, ...], origins: Origins, tmp_path_factory: pytest.TempPathFactory
) -> None:
    first, second = (Authority(tmp_path_factory.mktemp("tls")) for _ in range(2))
    server = pog.server(files(first), *args)
    with server.program:
        end = client(server, {"SERVER_CA_FILE": str(first.ca_file)})
        with end.program, connect(end.address, origins.start(echo).host_port) as tunnel:
            first.cert_file.write_bytes(second.cert_file.read_bytes())
            first.key_file.write_bytes(second.key_file.read_bytes())
            server.program.send_signal(signal.SIGHUP)
            eventually(lambda: check_read_again(server, 2 if args else 1))
            assert speaks(server, second, "h2") == "h2"
            with pytest.raises(ssl.SSLCertVerificationError):
                speaks(server, first, "h2")
            tunnel.send(b"still")
            assert tunnel.receive(5) == b"still"


def check_read_again(server: pog.End, processes: int) -> None:
    assert sum("SIGHUP: the certificate was read again" in line for line in server.program.stderr) == processes


@LATE_DATA
@pytest.mark.parametrize("args", [(), ("--workers", "2")], ids=["one process", "workers"])
def test_it_ends_in_time_whatever_clients_do(args: tuple[str, ...], authority: Authority, origins: Origins) -> None:
    """One has an open tunnel, one is silent in HTTP/2, one in HTTP/1.1, and one never begins the handshake."""
    server = pog.server(files(authority), *args)
    with server.program:
        context = authority.user_context()
        context.set_alpn_protocols(["h2"])
        end = client(server, {"SERVER_CA_FILE": str(authority.ca_file)})
        with (
            end.program,
            connect(end.address, origins.start(echo).host_port) as tunnel,
            socket.create_connection(server.address, SECONDS) as silent,
            socket.create_connection(server.address, SECONDS) as one,
            context.wrap_socket(one, server_hostname="localhost"),
            socket.create_connection(server.address, SECONDS) as two,
            authority.user_context().wrap_socket(two, server_hostname="localhost"),
        ):
            assert tunnel.status == 200
            server.program.stop()
            assert silent.recv(1) == b""


@pytest.mark.parametrize("args", [(), ("--workers", "2")], ids=["one process", "workers"])
@pytest.mark.parametrize(
    ("env", "problem"),
    [
        ({"SERVER_TLS_CERT": "/nonexistent/cert"}, "pog: /nonexistent/cert: cannot be read: No such file or directory"),
        ({"SERVER_TLS_KEY": "/key"}, "pog: SERVER_TLS_CERT: is not set, but SERVER_TLS_KEY is"),
        (
            {"SERVER_TLS_CERT": "/cert", "SERVER_TLS_SELF_SIGNED": "1"},
            "pog: SERVER_TLS_SELF_SIGNED: must not stand beside SERVER_TLS_CERT",
        ),
    ],
)
def test_what_is_wrong_ends_the_start(args: tuple[str, ...], env: dict[str, str], problem: str) -> None:
    program = Program([*pog.POG, "server", "--listen", pog.ANY_PORT, *args], env)
    assert program.wait() == 2, program.output()
    assert program.stderr[-1] == problem
    program.check_output()


def test_the_hypercorn_command_has_flags_of_its_own() -> None:
    """Served in clear, it would be taken for a server with TLS."""
    program = Program([pog.HYPERCORN, "pog.server:app", "--bind", pog.ANY_PORT], {"SERVER_TLS_CERT": "/cert"})
    program.wait()
    assert "pog: SERVER_TLS_CERT: has no effect where another command listens" in program.output()
    assert "Running on" not in program.output()
