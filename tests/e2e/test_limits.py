"""A limit counts what its text says, and a lack of our own is never told as the destination's fault."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.e2e.test_refusals import check_refusal
from tests.helpers import pog
from tests.helpers.origin import echo
from tests.helpers.process import NAMES, START_SECONDS, Program
from tests.helpers.user import Answer, connect, get
from tests.helpers.watch import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.helpers.origin import Origin, Origins
    from tests.helpers.user import Address

# With what a server has open besides, some 40 tunnels.
DESCRIPTORS = 64


@pytest.fixture
def origin(origins: Origins) -> Origin:
    return origins.start(echo)


def works(tunnel: Answer) -> None:
    assert tunnel.status == 200, tunnel.head
    tunnel.send(b"abc")
    assert tunnel.receive(3) == b"abc"


def silent(stack: ExitStack, proxy: Address, count: int) -> None:
    """Connections on which nothing is asked, as browsers open them in advance; all of them are accepted."""
    for _ in range(count):
        stack.enter_context(socket.create_connection(proxy, START_SECONDS))
    assert get(proxy, "/metrics")[0] == 200  # accepted after them


def test_connections_that_ask_for_nothing_and_pages_are_no_tunnels(shared_server: pog.End, origin: Origin) -> None:
    client = pog.client(shared_server.host_port, {"MAX_TUNNELS": "2"})
    with client.program, ExitStack() as stack:
        silent(stack, client.address, 5)
        for _ in range(2):
            works(stack.enter_context(connect(client.address, origin.host_port)))
        silent(stack, client.address, 1)
        text = check_refusal(connect(client.address, origin.host_port), 503, "connection_limit_reached")
        assert text.startswith("2 tunnels are open or being opened, the limit")


def test_tunnels_that_are_being_opened_count_until_they_are_given_up(origin: Origin) -> None:
    server = pog.server({"DIAL_TIMEOUT": "60", **NAMES})
    with server.program, ExitStack() as stack:
        client = pog.client(server.host_port, {"MAX_TUNNELS": "1"})
        stack.enter_context(client.program)
        with socket.create_connection(client.address) as waiting:
            waiting.sendall(b"CONNECT a.hangs.test:1 HTTP/1.1\r\n\r\n")
            eventually(lambda: check_opening(client))
            check_refusal(connect(client.address, origin.host_port), 503, "connection_limit_reached")
        eventually(lambda: works_once(client, origin))


def check_opening(client: pog.End) -> None:
    assert client.metrics()['tunnels{state="opening"}'] == 1


def works_once(client: pog.End, origin: Origin) -> None:
    with connect(client.address, origin.host_port) as tunnel:
        works(tunnel)


@pytest.fixture
def few_descriptors() -> Iterator[pog.End]:
    """A server that may open few descriptors."""
    command = ["sh", "-c", f'ulimit -n {DESCRIPTORS}; exec "$@"', "sh", *pog.POG, "server", "--listen", pog.ANY_PORT]
    with Program(command, {"EGRESS_ALLOW": pog.LOOPBACK, **NAMES}) as program:
        port = program.wait_line(r"pog server on 127\.0\.0\.1:(\d+)")[1]
        yield pog.End(program, ("127.0.0.1", int(port)), is_server=True)


def test_a_server_out_of_descriptors_says_so(few_descriptors: pog.End, origin: Origin) -> None:
    client = pog.client(few_descriptors.host_port)
    with client.program:
        with ExitStack() as stack:
            for _ in range(DESCRIPTORS):
                tunnel = stack.enter_context(connect(client.address, origin.host_port))
                if tunnel.status != 200:
                    break
                works(tunnel)
            # An address, a name that libc would look up in files or at a name server, a name with two addresses.
            for host in ("127.0.0.1", "no-such-host.invalid", "a.both.test"):
                answer = connect(client.address, f"{host}:{origin.port}")
                text = check_refusal(answer, 503, "connection_limit_reached")
                assert text == f"{host}:{origin.port} was not tried: the server lacks resources: Too many open files"
        eventually(lambda: works_once(client, origin))
        assert few_descriptors.metrics()['dials_total{result="limit"}'] >= 4
