"""SIGTERM under a hundred live tunnels: the short ones finish, the long ones end with a reason before the limit, new
ones go elsewhere, exit status 0. Each way to start prints its figures (pytest -s)."""

from __future__ import annotations

import signal
import socket
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc
import h2.connection
import pytest

from tests.helpers import pog, rpc
from tests.helpers.origin import Origins, echo
from tests.helpers.user import Address, Answer, connect
from tests.helpers.watch import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.helpers.process import Program

LIMIT = 3.0
# What comes after the limit: the trailers of what is cut (TRAILERS_TIMEOUT), the interpreter's end, and a busy machine.
GRACE = 3.0
ENV = {"DRAIN_TIMEOUT": str(LIMIT)}


@dataclass(slots=True)
class Figures:
    """Of one drain; times in seconds since the signal."""

    way: str
    finished: int = 0
    cut: int = 0
    refused: int = 0
    moved: int = 0
    last_cut: float = 0.0
    exit: float = 0.0

    def __str__(self) -> str:
        return (
            f"drain, {self.way}: {self.finished} finished, {self.cut} cut (the last after {self.last_cut:.2f} s), "
            f"{self.refused} refused, {self.moved} moved, exit after {self.exit:.2f} s of {LIMIT:g} s"
        )


def workers() -> pog.End:
    return pog.server(ENV, "--workers", "4")


def hypercorn(*args: str) -> pog.End:
    return pog.hypercorn(ENV, *args)


# Start, whether new connections are refused, whether clients that are connected are told to go elsewhere.
WAYS = [
    pytest.param(lambda: pog.server(ENV), True, True, id="pog server"),
    pytest.param(workers, True, True, id="pog server --workers 4"),
    pytest.param(lambda: hypercorn("--workers", "0"), True, True, id="hypercorn --workers 0"),
    # With workers Hypercorn's parent keeps its listening socket until they have ended: a new connection waits there.
    pytest.param(hypercorn, False, False, id="hypercorn"),
    pytest.param(lambda: pog.server(ENV | {"GRPC_AND_HTTP_MUX": "0"}), True, True, id="pog server, gRPC only"),
]


@pog.engine_only
@pytest.mark.parametrize(("start", "refuses", "moves"), WAYS)
def test_a_server(
    start: Callable[[], pog.End], refuses: bool, moves: bool, origins: Origins, request: pytest.FixtureRequest
) -> None:
    figures = Figures(request.node.callspec.id)
    target = origins.start(echo).host_port
    server = start()
    with server.program, ExitStack() as stack:
        client = pog.client(server.host_port)
        stack.enter_context(client.program)
        tunnels = [tunnel for _ in range(8) for tunnel in open_direct(stack, server, target, 10)]
        users = [stack.enter_context(talking(client.address, target)) for _ in range(20)]
        began = time.monotonic()
        server.program.send_signal(signal.SIGTERM)
        if refuses:
            eventually(lambda: check_refuses(server.address))
            figures.refused = refused_calls(server, 20, target)
        if moves:
            figures.moved = moved_tunnels(stack, server, client, target)
        for tunnel in tunnels[:40]:
            finish_call(tunnel)
            figures.finished += 1
        for user in users[:10]:
            finish(user)
            figures.finished += 1
        for tunnel in tunnels[40:]:
            assert tunnel.status() == (grpc.StatusCode.UNAVAILABLE, "the server is shutting down")
            figures.cut += 1
        for user in users[10:]:
            check_cut(user)
            figures.cut += 1
        check_end(figures, server.program, began)
    assert (figures.refused, figures.moved) == (20 * refuses, 20 * moves)


HALF_A_CALL = (
    b"POST /healthcheck.Healthcheck/Invoke HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    b"Content-Length: 100\r\n\r\n{"
)
# Far more than the sockets' buffers hold.
MANY_PAGES = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 400
SHORT = {"DRAIN_TIMEOUT": "1"}
STARTS = {
    "pog server": lambda: pog.server(SHORT),
    "hypercorn": lambda: pog.hypercorn(SHORT, "--workers", "0"),
    "pog client": lambda: pog.client("127.0.0.1:1", SHORT),
}


@pytest.mark.parametrize("start", STARTS)
def test_pages_that_stand_still_do_not_hold_up_the_end(start: str) -> None:
    """Half a request, four hundred whose answers nobody reads, and the same by HTTP/2 through a window that is shut."""
    end = STARTS[start]()
    with end.program, ExitStack() as stack:
        for data in (HALF_A_CALL, MANY_PAGES, stalled_page(), HALF_A_CALL[:20], b""):
            sock = stack.enter_context(socket.socket())
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.connect(end.address)
            sock.sendall(data)
        if end.is_server:
            end.metrics()  # answered behind the others: these are being served by now
        began = time.monotonic()
        end.program.send_signal(signal.SIGTERM)
        assert end.program.wait(1 + GRACE) == 0, end.program.output()
        end.program.check_output()
        print(f"pages that stand still, {start}: exit after {time.monotonic() - began:.2f} s of 1 s")


def stalled_page() -> bytes:
    """A request for a page by HTTP/2, and no window for the answer."""
    connection = h2.connection.H2Connection()
    connection.local_settings.initial_window_size = 0
    connection.initiate_connection()
    fields = [(":method", "GET"), (":scheme", "http"), (":authority", "x"), (":path", "/metrics")]
    connection.send_headers(1, fields, end_stream=True)
    return connection.data_to_send()


def check_end(figures: Figures, program: Program, began: float) -> None:
    """All tunnels have ended, half of them by the limit; now the program does, and well."""
    figures.last_cut = time.monotonic() - began
    assert program.wait() == 0, program.output()
    figures.exit = time.monotonic() - began
    program.check_output()
    print(figures)
    assert (figures.finished, figures.cut) == (50, 50)
    assert LIMIT <= figures.last_cut < LIMIT + GRACE
    assert figures.exit < LIMIT + GRACE


def open_direct(stack: ExitStack, server: pog.End, target: str, count: int) -> list[rpc.Tunnel]:
    """Tunnels of grpcio on one connection, each of which has carried bytes both ways."""
    opened = stack.enter_context(rpc.channel(server.host_port))
    tunnels = [stack.enter_context(rpc.Tunnel(opened)) for _ in range(count)]
    for tunnel in tunnels:
        tunnel.connect(target)
        tunnel.payload(b"abc")
    for tunnel in tunnels:
        assert not tunnel.next().connect_response.HasField("error")
        assert tunnel.next().payload == b"abc"
    return tunnels


def talking(proxy: Address, target: str) -> Answer:
    """A user's tunnel that has carried bytes both ways."""
    tunnel = connect(proxy, target)
    assert tunnel.status == 200, tunnel.head
    tunnel.send(b"abc")
    assert tunnel.receive(3) == b"abc"
    return tunnel


def check_refuses(address: Address) -> None:
    try:
        socket.create_connection(address, 5).close()
    except ConnectionRefusedError:
        return
    except ConnectionResetError:  # it was in the queue of a socket that closed
        pass
    raise AssertionError("still accepts")


def refused_calls(server: pog.End, count: int, target: str) -> int:
    """Calls from elsewhere, made during the drain: how many were told at once that nobody takes them."""
    found = 0
    for _ in range(count):
        began = time.monotonic()
        with rpc.channel(server.host_port) as opened, rpc.Tunnel(opened) as tunnel:
            tunnel.connect(target)
            found += tunnel.status()[0] is grpc.StatusCode.UNAVAILABLE and time.monotonic() - began < 1
    return found


def moved_tunnels(stack: ExitStack, old: pog.End, client: pog.End, target: str) -> int:
    """New tunnels of a client that was connected to the old server, once a new one listens at the same address."""
    new = pog.server({"SERVER_LISTEN": old.host_port})
    stack.enter_context(new.program)
    for _ in range(20):
        with talking(client.address, target) as tunnel:
            finish(tunnel)
    opened = new.metrics()["tunnels_opened_total"]
    return int(opened)


def finish_call(tunnel: rpc.Tunnel) -> None:
    tunnel.payload(b"the rest")
    tunnel.end()
    assert b"".join(packet.payload for packet in tunnel.rest()) == b"the rest"


def finish(user: Answer) -> None:
    user.send(b"the rest")
    user.half_close()
    assert user.receive_all() == b"the rest"


def check_cut(user: Answer) -> None:
    """A cut must not look like an end of the answer."""
    with pytest.raises(ConnectionResetError):
        user.receive_all()


def test_both_ends_in_one_process(origins: Origins) -> None:
    figures = Figures("pog up")
    target = origins.start(echo).host_port
    _, client = pog.up(ENV)
    with client.program, ExitStack() as stack:
        users = [stack.enter_context(talking(client.address, target)) for _ in range(100)]
        began = time.monotonic()
        client.program.send_signal(signal.SIGTERM)
        eventually(lambda: check_refuses(client.address))
        for _ in range(20):
            with suppress(ConnectionRefusedError):
                socket.create_connection(client.address, 5).close()
                continue
            figures.refused += 1
        for user in users[:50]:
            finish(user)
            figures.finished += 1
        for user in users[50:]:
            check_cut(user)
            figures.cut += 1
        check_end(figures, client.program, began)
    assert figures.refused == 20
