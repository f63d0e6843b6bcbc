"""When one of the three connections breaks, the other two close at once, and the next tunnel works."""

import signal
import socket
import time
from collections.abc import Iterator

import pytest

from tests.conftest import Pair
from tests.helpers import pog
from tests.helpers.origin import (
    RESET_ON_CLOSE,
    Origin,
    Origins,
    echo,
    farewell,
    full_backlog,
    reset_after,
    silent,
    unused_port,
)
from tests.helpers.user import Answer, connect
from tests.helpers.watch import children, connections, eventually

# «At once», with room for a busy machine.
AT_ONCE = 1.0


@pytest.fixture
def own() -> Iterator[Pair]:
    """A pair of the test's own, which it may hurt."""
    server = pog.server()
    with server.program:
        client = pog.client(server.host_port)
        with client.program:
            yield Pair(client, server)


def opened(proxy: pog.End, origin: Origin) -> Answer:
    """A tunnel through which bytes have gone both ways."""
    tunnel = connect(proxy.address, origin.host_port)
    assert tunnel.status == 200
    tunnel.send(b"abc")
    assert tunnel.receive(3) == b"abc"
    return tunnel


def check_ends_at_once(tunnel: Answer) -> None:
    """The user's socket ends, by an end of data or a reset, within a second."""
    began = time.monotonic()
    tunnel.sock.settimeout(AT_ONCE)
    try:
        assert tunnel.receive_all() == b""
    except ConnectionResetError:
        pass
    assert time.monotonic() - began < AT_ONCE


def check_nothing_is_open(*things: pog.End | Origin) -> None:
    def check() -> None:
        for thing in things:
            assert (thing.live if isinstance(thing, Origin) else thing.tunnels()) == 0

    eventually(check)


def test_the_server_is_killed_and_comes_back(origins: Origins) -> None:
    origin = origins.start(echo)
    server = pog.server()
    with server.program:
        client = pog.client(server.host_port)
        with client.program:
            with opened(client, origin) as tunnel:
                server.program.kill()
                check_ends_at_once(tunnel)
            check_nothing_is_open(client, origin)
            again = pog.server({"SERVER_LISTEN": server.host_port})
            with again.program, opened(client, origin):
                assert again.tunnels() == 1


def test_a_cut_is_not_told_as_an_end(own: Pair, origins: Origins) -> None:
    """A user's program must see that the answer is not whole."""
    with opened(own.client, origins.start(echo)) as tunnel:
        own.server.program.kill()
        tunnel.sock.settimeout(AT_ONCE)
        with pytest.raises(ConnectionResetError):
            tunnel.receive_all()


def test_connect_while_the_server_is_down() -> None:
    """It waits a bounded time, then says why."""
    end = pog.client(f"127.0.0.1:{unused_port()}", {"EXIT_WAIT": "0.5"})
    with end.program:
        began = time.monotonic()
        with connect(end.address, "127.0.0.1:1") as answer:
            waited = time.monotonic() - began
            assert answer.status == 503
            assert "refused" in answer.fields["x-proxy-over-grpc-error"].lower()
        assert 0.4 < waited < 3


def test_connect_waits_for_a_server_that_comes(origins: Origins) -> None:
    origin, port = origins.start(echo), unused_port()
    client = pog.client(f"127.0.0.1:{port}", {"EXIT_WAIT": "15"})
    with client.program, socket.create_connection(client.address, 15) as sock:
        sock.sendall(f"CONNECT {origin.host_port} HTTP/1.1\r\n\r\n".encode())
        server = pog.server({"SERVER_LISTEN": f"127.0.0.1:{port}"})
        with server.program:
            assert sock.recv(12) == b"HTTP/1.1 200"


def test_connect_to_a_server_that_does_not_answer() -> None:
    with full_backlog() as address:
        end = pog.client(address, {"EXIT_WAIT": "0.5", "CONNECT_TIMEOUT": "0.3"})
        with end.program, connect(end.address, "127.0.0.1:1") as answer:
            assert answer.status == 503
            assert answer.fields["x-proxy-over-grpc-error"]


def test_connect_to_a_server_that_is_none(origins: Origins) -> None:
    """Something answers, but not HTTP/2."""
    end = pog.client(origins.start(echo).host_port, {"EXIT_WAIT": "0.5", "CONNECT_TIMEOUT": "1"})
    with end.program, connect(end.address, "127.0.0.1:1") as answer:
        assert answer.status == 503
        assert answer.fields["x-proxy-over-grpc-error"]


def test_the_destination_resets(own: Pair, origins: Origins) -> None:
    with connect(own.client.address, origins.start(reset_after(3)).host_port) as tunnel:
        tunnel.send(b"abc")
        check_ends_at_once(tunnel)
    check_nothing_is_open(own.client, own.server)


@pytest.mark.parametrize("how", ["closes", "resets"])
def test_the_user_goes(own: Pair, origins: Origins, how: str) -> None:
    origin = origins.start(echo)
    with opened(own.client, origin) as tunnel:
        assert own.server.tunnels() == 1
        assert own.client.tunnels() == 1
        if how == "resets":
            tunnel.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    check_nothing_is_open(own.client, own.server, origin)


def test_the_user_goes_from_a_destination_that_says_nothing(own: Pair, origins: Origins) -> None:
    """A destination that ignores the end of the user's data holds nothing once the user's socket is reset."""
    origin = origins.start(silent)
    with connect(own.client.address, origin.host_port) as tunnel:
        tunnel.send(b"abc")
        eventually(lambda: check_live(origin, 1))
        tunnel.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    check_nothing_is_open(own.client, own.server, origin)


def check_live(origin: Origin, expected: int) -> None:
    assert origin.live == expected


def test_the_user_goes_while_the_server_dials(own: Pair) -> None:
    """A reset frees the dial; an end of data would not: the user may still read the answer."""
    with full_backlog() as target, socket.create_connection(own.client.address) as sock:
        sock.sendall(f"CONNECT {target} HTTP/1.1\r\n\r\n".encode())
        eventually(lambda: check_started(own.server, 1))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        sock.close()
        eventually(lambda: check_completed(own.server, 1))


def rpcs(end: pog.End, what: str) -> float:
    found = end.metrics()
    return sum(value for name, value in found.items() if name.startswith(f"grpc_io_server_{what}_rpcs{{"))


def check_started(end: pog.End, expected: int) -> None:
    assert rpcs(end, "started") == expected


def check_completed(end: pog.End, expected: int) -> None:
    assert rpcs(end, "completed") == expected


@pytest.mark.parametrize("server_args", [(), ("--workers", "2")])
def test_every_leg_asks_after_a_peer_that_is_silent(origins: Origins, server_args: tuple[str, ...]) -> None:
    """A machine that is gone says nothing: only a timer tells. Beside a tunnel's: HTTP/1.1 to the server."""
    origin = origins.start(echo)
    server = pog.server({}, *server_args)
    with server.program:
        client = pog.client(server.host_port)
        with client.program, opened(client, origin) as tunnel, socket.create_connection(server.address) as stranger:
            user, other = tunnel.sock.getsockname()[1], stranger.getsockname()[1]
            pids = [server.pid, *children(server.pid), client.pid]

            def check() -> None:
                found = [connection for pid in pids for connection in connections(pid)]
                assert len(found) == 5  # the one between client and server has two ends here
                assert {user, other, origin.port, server.address[1]} < {there for _, there, _ in found}
                assert all(timer for _, _, timer in found), found

            eventually(check)


def test_the_client_is_killed(own: Pair, origins: Origins) -> None:
    origin = origins.start(echo)
    with opened(own.client, origin):
        own.client.program.kill()
    check_nothing_is_open(own.server, origin)


@pog.engine_only
def test_one_tunnel_does_not_harm_another(own: Pair, origins: Origins) -> None:
    """A reset, a refused dial and a reader that stops, beside a tunnel that goes on."""
    origin = origins.start(echo)
    with opened(own.client, origin) as good, opened(own.client, origin) as stopped:
        stopped.sock.settimeout(0.2)
        with pytest.raises(TimeoutError):  # its buffers are full, all the way there and back
            while True:
                stopped.send(bytes(1 << 20))
        with connect(own.client.address, origins.start(reset_after(1)).host_port) as reset:
            reset.send(b"x")
            check_ends_at_once(reset)
        with connect(own.client.address, f"127.0.0.1:{unused_port()}") as refused:
            assert refused.status == 502
        began = time.monotonic()
        for _ in range(20):
            good.send(b"x" * 1000)
            assert good.receive(1000) == b"x" * 1000
        assert time.monotonic() - began < AT_ONCE
    check_nothing_is_open(own.client, own.server, origin)


@pytest.mark.parametrize("which", ["server", "client"])
def test_a_silent_tunnel_ends_at_the_limit(origins: Origins, which: str) -> None:
    """Each end has the limit; a tunnel in which bytes move outlives it."""
    limit = {"TUNNEL_IDLE_TIMEOUT": "0.4"}
    server = pog.server(limit if which == "server" else {})
    with server.program:
        client = pog.client(server.host_port, limit if which == "client" else {})
        with client.program, opened(client, origins.start(echo)) as tunnel:
            began = time.monotonic()
            while time.monotonic() - began < 1:
                tunnel.send(b"abc")
                assert tunnel.receive(3) == b"abc"
            check_ends_at_once(tunnel)
            check_nothing_is_open(client, server)


def test_a_half_closed_tunnel_that_stays_silent_ends(origins: Origins) -> None:
    server = pog.server({"TUNNEL_HALF_CLOSE_TIMEOUT": "0.4"})
    with server.program:
        client = pog.client(server.host_port)
        with client.program, connect(client.address, origins.start(farewell).host_port) as tunnel:
            assert tunnel.receive_all() == b"bye"
            check_nothing_is_open(client, server)


def test_the_limit_of_tunnels(pair: Pair, origins: Origins) -> None:
    """More wait or are refused with a reason; when one ends, the next is served."""
    target = origins.start(echo)
    client = pog.client(pair.server.host_port, {"MAX_TUNNELS": "2"})
    with client.program:
        with opened(client, target), opened(client, target):
            with connect(client.address, target.host_port) as third:
                assert third.status == 503
                assert "MAX_TUNNELS" in third.fields["x-proxy-over-grpc-error"]
        check_nothing_is_open(client)
        with opened(client, target):
            pass


@pytest.mark.parametrize("which", ["server", "client"])
def test_sigterm_lets_tunnels_finish(origins: Origins, which: str) -> None:
    """It stops to accept, tunnels go on, and it ends with status 0 once the last one is done."""
    server = pog.server({"DRAIN_TIMEOUT": "20"})
    with server.program:
        client = pog.client(server.host_port, {"DRAIN_TIMEOUT": "20"})
        with client.program:
            end = server if which == "server" else client
            with opened(client, origins.start(echo)) as tunnel:
                end.program.send_signal(signal.SIGTERM)
                eventually(lambda: check_refuses(end))
                for _ in range(10):
                    tunnel.send(b"abc")
                    assert tunnel.receive(3) == b"abc"
                assert end.program.running()
            assert end.program.wait(5) == 0, end.program.output()
            end.program.check_output()


def check_refuses(end: pog.End) -> None:
    """Nobody accepts connections there any more."""
    try:
        socket.create_connection(end.address, 5).close()
    except ConnectionRefusedError:
        return
    raise AssertionError("still accepts")


@pytest.mark.parametrize("which", ["server", "client"])
def test_sigterm_ends_tunnels_that_do_not_finish(origins: Origins, which: str) -> None:
    server = pog.server({"DRAIN_TIMEOUT": "0.3"})
    with server.program:
        client = pog.client(server.host_port, {"DRAIN_TIMEOUT": "0.3"})
        with client.program:
            end = server if which == "server" else client
            with opened(client, origins.start(echo)) as tunnel:
                end.program.send_signal(signal.SIGTERM)
                assert end.program.wait(5) == 0, end.program.output()
                check_ends_at_once(tunnel)
            end.program.check_output()


@pytest.mark.parametrize("which", ["server", "client"])
def test_a_second_signal_ends_it_now(origins: Origins, which: str) -> None:
    server = pog.server({"DRAIN_TIMEOUT": "60"})
    with server.program:
        client = pog.client(server.host_port, {"DRAIN_TIMEOUT": "60"})
        with client.program:
            end = server if which == "server" else client
            with opened(client, origins.start(echo)):
                end.program.send_signal(signal.SIGTERM)
                eventually(lambda: check_refuses(end))
                end.program.send_signal(signal.SIGTERM)
                end.program.wait(3)
