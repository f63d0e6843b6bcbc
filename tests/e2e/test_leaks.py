"""Tunnels leave nothing behind: no gauge, no task, no descriptor, no memory."""

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.conftest import Pair
from tests.helpers import pog, rpc
from tests.helpers.origin import RESET_ON_CLOSE, Origins, echo, full_backlog, unused_port
from tests.helpers.user import Address, connect
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
