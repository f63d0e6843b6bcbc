"""`pog health` and `pog stacks`, as an operator or a container's health check runs them."""

from __future__ import annotations

import http.client
import signal
import ssl
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from pog.grpctest import serve_in_thread
from pog.proto import healthcheck_pb2
from pog.proto.healthcheck_grpc import HealthcheckBase
from tests.helpers import pog
from tests.helpers.items import item
from tests.helpers.known_faults import LATE_DATA
from tests.helpers.origin import Origins, full_backlog, silent, unused_port
from tests.helpers.process import Program
from tests.helpers.user import basic, connect, get
from tests.helpers.watch import eventually

if TYPE_CHECKING:
    from pathlib import Path

    import grpclib.server

    from tests.helpers.tls import Authority


def run(*args: str, env: dict[str, str] | None = None) -> tuple[int, str, str]:
    """Status, what stood on standard output, and everything."""
    program = Program([*pog.POG, *args], env)
    status = program.wait()
    program.check_output()
    return status, "\n".join(program.stdout), program.output()


@LATE_DATA
def test_health(shared_server: pog.End) -> None:
    address = shared_server.host_port
    assert run("health", address, "--insecure")[:2] == (0, "SERVING")
    assert run("health", address, env={"INSECURE": "1"})[:2] == (0, "SERVING")
    assert run("health", address, "--insecure", "--service", "HTTPProxy")[:2] == (0, "SERVING")
    status, _, said = run("health", address, "--insecure", "--service", "Nobody")
    assert status == 1
    assert "NOT_FOUND" in said


@LATE_DATA
def test_health_needs_no_credentials_and_stacks_do() -> None:
    end = pog.server({"POG_AUTH_A": item("a", "secret")})
    with end.program:
        assert run("health", end.host_port, "--insecure")[:2] == (0, "SERVING")
        assert "\ntask " in run("stacks", end.host_port, "--insecure", "--auth", "a:secret")[1]
        assert run("stacks", end.host_port, "--insecure", env={"CLIENT_POG_AUTH": "a:secret"})[0] == 0
        for env in ({}, {"CLIENT_POG_AUTH": "a:wrong"}):
            status, out, said = run("stacks", end.host_port, "--insecure", env=env)
            assert (status, out) == (1, "")
            assert "UNAUTHENTICATED" in said
            assert "wrong\n" not in said


@LATE_DATA
def test_stacks_of_a_server_that_does_not_serve_them() -> None:
    end = pog.server({"STACKS": ""})
    with end.program:
        status, _, said = run("stacks", end.host_port, "--insecure")
        assert status == 1
        assert "UNIMPLEMENTED: it serves no stacks; start it with STACKS=1" in said


def test_tls(authority: Authority) -> None:
    files = ("--certfile", str(authority.cert_file), "--keyfile", str(authority.key_file))
    end = pog.hypercorn(None, *files)
    trusts = {"SSL_CERT_FILE": str(authority.ca_file)}
    with end.program:
        assert run("health", end.host_port, env=trusts)[:2] == (0, "SERVING")
        assert run("health", end.host_port, "--server-host", "localhost", env=trusts)[0] == 0
        assert run("health", end.host_port, "--skip-verify")[0] == 0
        for args in ((), ("--server-host", "pog.example")):
            status, _, said = run("health", end.host_port, *args, env=trusts if args else {})
            assert status == 1
            assert "certificate" in said


def test_nobody_there() -> None:
    status, _, said = run("health", f"127.0.0.1:{unused_port()}", "--insecure")
    assert status == 1
    assert "refused" in said.lower()


def test_nobody_who_answers(origins: Origins) -> None:
    """Neither to the SYN, nor to the preface."""
    with full_backlog() as address:
        for each in (address, origins.start(silent).host_port):
            status, _, said = run("health", each, "--insecure", "--limit", "0.3")
            assert status == 1
            assert "within 0.3 s" in said


def test_a_server_that_drains(origins: Origins) -> None:
    """It refuses new connections, so a probe fails at once; what is open goes on."""
    server = pog.server({"DRAIN_TIMEOUT": "60"})
    with server.program:
        client = pog.client(server.host_port)
        with client.program, connect(client.address, origins.start(silent).host_port) as tunnel:
            assert tunnel.status == 200
            server.program.send_signal(signal.SIGTERM)
            eventually(lambda: check_fails(server))
            assert server.program.running()
        assert server.program.wait() == 0


def check_fails(end: pog.End) -> None:
    assert run("health", end.host_port, "--insecure", "--limit", "1")[0] == 1


def test_a_client_is_well_when_its_exit_is_connected() -> None:
    port = unused_port()
    client = pog.client(f"127.0.0.1:{port}")
    with client.program:
        status, said, _ = run("health", "--client", client.host_port)
        assert status == 1
        assert said.startswith(f"127.0.0.1:{port}: "), said
        assert get(client.address, "/readyz") == (503, f"{said}\n")
        assert get(client.address, "/healthz")[0] == 200
        server = pog.server({"SERVER_LISTEN": f"127.0.0.1:{port}"})
        with server.program:
            eventually(lambda: check_ready(client, 200))
            for address in (client.host_port, f":{client.address[1]}", f"http://{client.host_port}"):
                assert run("health", "--client", address)[:2] == (0, "ok")
        eventually(lambda: check_ready(client, 503))
        assert run("health", "--client", client.host_port)[0] == 1


def test_a_client_behind_tls_and_at_a_unix_domain_socket(
    shared_server: pog.End, authority: Authority, tmp_path: Path
) -> None:
    """The certificate is verified; and the file for browsers leads to an HTTPS proxy where it came from one."""
    unix = f"unix:{tmp_path / 'sock'}"
    env = {
        "CLIENT_LISTEN": f"127.0.0.1:0,https://127.0.0.1:0,{unix}",
        "CLIENT_TLS_CERT": str(authority.cert_file),
        "CLIENT_TLS_KEY": str(authority.key_file),
    }
    client = pog.client(shared_server.host_port, env)
    with client.program:
        tls = client.program.wait_line(r"https://(\S+),")[1]
        trusts = {"SSL_CERT_FILE": str(authority.ca_file)}
        eventually(lambda: check_ready(client, 200))
        assert run("health", "--client", unix)[:2] == (0, "ok")
        assert run("health", "--client", f"https://{tls}", env=trusts)[:2] == (0, "ok")
        assert run("health", "--client", f"https://{tls}", "--skip-verify")[0] == 0
        status, _, said = run("health", "--client", f"https://{tls}")
        assert status == 1
        assert "certificate" in said
        with ask_tls(tls, authority) as connection:
            connection.request("GET", "/proxy.pac")
            assert f'"HTTPS {tls}"' in connection.getresponse().read().decode()


def ask_tls(address: str, authority: Authority) -> closing[http.client.HTTPSConnection]:
    context = ssl.create_default_context(cafile=str(authority.ca_file))
    return closing(http.client.HTTPSConnection(address, timeout=15, context=context))


def check_ready(client: pog.End, status: int) -> None:
    assert get(client.address, "/readyz")[0] == status


def test_what_is_no_client() -> None:
    status, said, everything = run("health", "--client", f"127.0.0.1:{unused_port()}")
    assert (status, said) == (1, ""), everything
    assert "refused" in everything.lower()
    assert run("health", "--client", "127.0.0.1:1,127.0.0.1:2")[0] == 2


class Original(HealthcheckBase):
    """The original has healthcheck.Healthcheck alone, behind its credentials."""

    def __init__(self, login: str) -> None:
        self._login = login

    async def Invoke(self, stream: grpclib.server.Stream[healthcheck_pb2.Request, healthcheck_pb2.Response]) -> None:
        assert stream.metadata is not None
        if stream.metadata.get("authorization") != self._login:
            raise GRPCError(Status.UNAUTHENTICATED, "who?")
        await stream.recv_message()
        await stream.send_message(healthcheck_pb2.Response(data="{}"))


def test_the_original(origins: Origins) -> None:
    with serve_in_thread(Original(basic("a", "a")), transport="grpcio") as sc:
        address = str(sc.address)
        assert run("health", address, "--insecure", "--auth", "a:a")[:2] == (0, "SERVING")
        status, _, said = run("health", address, "--insecure")
        assert status == 1
        assert "UNAUTHENTICATED" in said
        assert run("health", address, "--insecure", "--service", "HTTPProxy")[0] == 1


@pytest.mark.parametrize("args", [["nonsense"], ["a:1", "--auth", "nocolon"], ["a:1", "--limit", "0"], []])
def test_bad_usage(args: list[str]) -> None:
    status, _, said = run("health", *args)
    assert status == 2
    assert "nocolon" not in said.partition("\n")[2]


def test_a_health_check_imports_little() -> None:
    """What a server is made of stays out of the way of a command that runs every few seconds."""
    code = "import sys, pog.cli.main, pog.client.probe; print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    heavy = {"hypercorn", "starlette", "prometheus_client", "bcrypt", "uvloop", "h11", "grpclib.server"}
    assert heavy.isdisjoint(found)
