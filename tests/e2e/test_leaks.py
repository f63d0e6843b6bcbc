"""Tunnels leave nothing behind: no gauge, no task, no descriptor, no memory."""

import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.conftest import Pair
from tests.e2e.test_exits import exits
from tests.helpers import pog, rpc
from tests.helpers.origin import RESET_ON_CLOSE, Origins, echo, full_backlog, unused_port
from tests.helpers.original import Breaking, serving
from tests.helpers.plain import plain
from tests.helpers.user import SECONDS, Address, connect, read_answer
from tests.helpers.watch import descriptors, eventually, resident

AT_A_TIME = 32
WARM_UP = 1000
TUNNELS = 1000
# What allocators still settle by after the first thousand is less than 1 MiB; a leak of 2 KiB a tunnel shows.
MEMORY_MARGIN = 2 << 20


def visit(proxy: Address, target: str) -> None:
    """One short tunnel."""
    with connect(proxy, target) as tunnel:
        assert tunnel.status == 200
        tunnel.send(b"x" * 1000)
        assert tunnel.receive(1000) == b"x" * 1000


def visit_many(proxy: Address, target: str, count: int) -> None:
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        for _ in pool.map(lambda _: visit(proxy, target), range(count)):
            pass


def hurt(proxy: Address, echo_target: str, silent_target: str) -> None:
    """Tunnels that end badly: reset by the user, refused, malformed, and given up while the server dials."""
    with connect(proxy, echo_target) as tunnel:
        tunnel.send(b"x" * 100_000)
        tunnel.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    with connect(proxy, f"127.0.0.1:{unused_port()}") as refused:
        assert refused.status == 502
    with connect(proxy, "nonsense") as malformed:
        assert malformed.status == 400
    with socket.create_connection(proxy) as sock:
        sock.sendall(f"CONNECT {silent_target} HTTP/1.1\r\n\r\n".encode())
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    with socket.create_connection(proxy) as sock:
        sock.sendall(b"CONN")


@pytest.fixture
def own() -> Iterator[Pair]:
    server = pog.server({"DISABLE_ACCESS_LOGGING": "1"})
    with server.program:
        client = pog.client(server.host_port, {"DISABLE_ACCESS_LOGGING": "1"})
        with client.program:
            yield Pair(client, server)


@pog.engine_only
def test_a_thousand_tunnels_leave_everything_as_it_was(own: Pair, origins: Origins) -> None:
    origin = origins.start(echo)
    ends = (own.client, own.server)

    def at_rest() -> list[list[str]]:
        """Open descriptors, once no tunnel is open."""
        assert [end.tunnels() for end in ends] == [0, 0]
        assert origin.live == 0
        return [descriptors(end.pid) for end in ends]

    visit_many(own.client.address, origin.host_port, WARM_UP)
    before = eventually(at_rest)
    tasks_before = rpc.tasks(own.server.host_port)
    memory_before = [resident(end.pid) for end in ends]
    visit_many(own.client.address, origin.host_port, TUNNELS)

    def check() -> None:
        assert at_rest() == before
        assert rpc.tasks(own.server.host_port) == tasks_before

    eventually(check)
    growth = [resident(end.pid) - was for end, was in zip(ends, memory_before, strict=True)]
    assert max(growth) < MEMORY_MARGIN, growth
    assert origin.accepted == WARM_UP + TUNNELS


@pog.engine_only
def test_tunnels_that_end_badly_leave_no_task_and_no_descriptor(origins: Origins) -> None:
    """`pog up` shows the tasks of both ends at once."""
    origin = origins.start(echo)
    server, client = pog.up()
    with server.program, full_backlog() as silent_target:

        def look() -> tuple[list[str], dict[str, int]]:
            assert (server.tunnels(), client.tunnels(), origin.live) == (0, 0, 0)
            return descriptors(server.pid), rpc.tasks(server.host_port)

        visit_many(client.address, origin.host_port, AT_A_TIME)
        before = eventually(look)
        for _ in range(20):
            hurt(client.address, origin.host_port, silent_target)

        def check() -> None:
            assert look() == before

        eventually(check)
        visit(client.address, origin.host_port)


RULES = """
[[rules]]
hosts = ["localhost"]
exits = ["gone", "direct", "good"]
[[rules]]
exits = ["breaking", "good", "direct"]
"""


def forwarded(proxy: Address, host_port: str) -> None:
    """Three requests on one connection, whose last answer is given up."""
    with socket.create_connection(proxy, SECONDS) as sock:
        for size in (1000, 1000, 100_000_000):
            sock.sendall(f"GET http://{host_port}/length/{size} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
            answer = read_answer(sock)
            assert answer.status == 200
            answer.receive(1000)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)


def over_socks(proxy: Address, port: int) -> None:
    with socket.create_connection(proxy, SECONDS) as sock:
        sock.sendall(b"\x05\x01\x00\x05\x01\x00\x03\x09localhost" + port.to_bytes(2, "big"))
        answer = b""
        while len(answer) < 12:
            answer += sock.recv(12 - len(answer))
        assert answer[:4] == b"\x05\x00\x05\x00"
        sock.sendall(b"ping")
        assert sock.recv(4) == b"ping"


@pog.engine_only
def test_several_exits_rules_and_every_front_leave_no_descriptor(
    tmp_path: Path, origins: Origins, shared_server: pog.End
) -> None:
    echoing, origin = origins.start(echo), origins.start(plain)
    path = tmp_path / "pog.toml"
    with serving(Breaking()) as breaking:
        servers = {"gone": f"127.0.0.1:{unused_port()}", "breaking": breaking.address, "good": shared_server.host_port}
        path.write_text(exits(**servers) + RULES)
        end = pog.client("", {"POG_CONFIG": str(path), "INSECURE": "", "DISABLE_ACCESS_LOGGING": "1"})
        with end.program:

            def round_of_all() -> None:
                for host in ("localhost", "127.0.0.1"):
                    forwarded(end.address, f"{host}:{origin.port}")
                    with connect(end.address, f"{host}:{origin.port}") as tunnel:
                        tunnel.send(b"GET /length/4 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
                        assert tunnel.receive(12) == b"HTTP/1.1 200"
                    over_socks(end.address, echoing.port)
                with connect(end.address, f"localhost:{unused_port()}") as refused:
                    assert refused.status == 502
                with socket.create_connection(end.address) as sock:
                    sock.sendall(f"CONNECT localhost:{echoing.port} HTTP/1.1\r\n\r\n".encode())
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)

            def at_rest() -> list[str]:
                assert (end.tunnels(), origin.live, echoing.live) == (0, 0, 0)
                assert sum(value for name, value in end.metrics().items() if name.startswith("tunnels{")) == 0
                return descriptors(end.pid)

            round_of_all()
            before = eventually(at_rest)
            for _ in range(5):
                round_of_all()
                end.program.send_signal(signal.SIGHUP)

            def check() -> None:
                assert at_rest() == before

            eventually(check)
