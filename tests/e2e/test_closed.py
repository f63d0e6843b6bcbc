"""A server without auth items opens tunnels only where its listener is loopback, or with POG_OPEN=1."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
import pytest

from tests.helpers import h2c, pog, rpc
from tests.helpers.origin import echo, unused_port
from tests.helpers.process import Program
from tests.helpers.user import connect, get

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.helpers.origin import Origins

    Start = Callable[[dict[str, str], int], pog.End]


def by_port(env: dict[str, str], port: int) -> pog.End:
    return pog.server({"SERVER_LISTEN": "", "PORT": str(port), **env})


def workers(env: dict[str, str], port: int) -> pog.End:
    return pog.server({"SERVER_LISTEN": f"[::]:{port}", **env}, "--workers", "2")


def hypercorn(env: dict[str, str], port: int) -> pog.End:
    return pog.hypercorn(env, "--bind", f"[::]:{port}")


EVERYWHERE = pytest.mark.parametrize("start", [by_port, workers, hypercorn])


def first_answer(host_port: str, destination: str) -> grpc.StatusCode | str:
    """The status of a call for a tunnel that a server refuses, or what it echoes."""
    with rpc.channel(host_port) as opened, rpc.Tunnel(opened) as tunnel:
        tunnel.connect(destination)
        try:
            assert not tunnel.next().connect_response.HasField("error")
        except grpc.RpcError as error:
            return error.code()
        tunnel.payload(b"abc")
        return tunnel.next().payload.decode()


@EVERYWHERE
def test_where_it_is_not_it_serves_pages_and_health_and_no_tunnel(start: Start, origins: Origins) -> None:
    """Whatever the peer: a proxy on the same machine comes from 127.0.0.1, as this test does."""
    origin = origins.start(echo)
    end = start({}, unused_port())
    with end.program:
        end.program.wait_line(r"CLOSED: no POG_AUTH_\* is set and .* is not loopback")
        for path in ("/healthz", "/readyz", "/metrics", "/"):
            assert get(end.address, path)[0] == 200
        assert h2c.get(end.address, "/healthz")[0] == 200
        with rpc.channel(end.host_port) as opened:
            assert rpc.health(opened)["app"] == "proxy-over-grpc server"
        assert first_answer(end.host_port, origin.host_port) is grpc.StatusCode.UNAUTHENTICATED
        client = pog.client(end.host_port)
        with client.program, connect(client.address, origin.host_port) as answer:
            assert answer.status == 503
            reason = answer.fields["x-proxy-over-grpc-error"]
            assert "POG_AUTH_*" in reason and "POG_OPEN=1" in reason
        assert end.tunnels() == 0
    assert origin.live == 0


@EVERYWHERE
def test_opened_on_purpose_it_says_so_whatever_the_log_level(start: Start, origins: Origins) -> None:
    end = start({"POG_OPEN": "1", "LOG_LEVEL": "error"}, unused_port())
    with end.program:
        end.program.wait_line("OPEN PROXY on .*: POG_OPEN=1 is set")
        assert first_answer(end.host_port, origins.start(echo).host_port) == "abc"


@pytest.mark.parametrize("start", [pog.server, pog.hypercorn])
def test_a_listener_on_loopback_opens_tunnels_and_names_the_danger(
    start: Callable[[], pog.End], origins: Origins
) -> None:
    end = start()
    with end.program:
        end.program.wait_line(r"if a proxy in front of this port faces the network, set POG_AUTH_\*")
        assert first_answer(end.host_port, origins.start(echo).host_port) == "abc"


def test_a_unix_domain_socket_is_what_proxies_connect_to(origins: Origins, tmp_path: object) -> None:
    path = f"{tmp_path}/pog.sock"
    program = Program([pog.HYPERCORN, "pog.server:app", "--bind", f"unix:{path}"], {"EGRESS_ALLOW": pog.LOOPBACK})
    with program:
        program.wait_line("Running on")
        program.wait_line("CLOSED: .*unix:.* is not loopback")
        assert first_answer(f"unix:{path}", origins.start(echo).host_port) is grpc.StatusCode.UNAUTHENTICATED
        program.stop()


@pytest.mark.parametrize("name", ["POG_AUTH", "POG_AUTHX"])
def test_a_variable_that_misses_its_name_ends_the_start(name: str) -> None:
    program = Program([*pog.POG, "server", "--listen", pog.ANY_PORT], {name: "{}"})
    assert program.wait() == 2
    assert program.stderr == [f"pog: {name}: is not read; the variable of an auth item begins with POG_AUTH_"]
