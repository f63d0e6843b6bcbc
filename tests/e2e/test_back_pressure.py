"""Memory stays bounded in whatever order things happen: DESIGN.md, «Bounded, in every order of events»."""

import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress

import h2.config
import h2.connection
import pytest
from h2.settings import SettingCodes

from pog.proto.grpcproxy_pb2 import ConnectRequest, Packet
from pog.wire import encode
from tests.helpers import pog
from tests.helpers.narrow import flood, narrow
from tests.helpers.origin import Origins, silent
from tests.helpers.user import connect, connect_head
from tests.helpers.watch import Peak

pytestmark = pog.engine_only

# What was promised above the same tunnels idle. Without back pressure it was a gigabyte a second.
MOST = 8 << 20
# For so long the peak is watched, seconds.
WATCHED = 1.0
QUIET = {"DISABLE_ACCESS_LOGGING": "1"}


def check_bounded(*peaks: Peak) -> None:
    deadline = time.monotonic() + WATCHED
    while time.monotonic() < deadline:
        for peak in peaks:
            assert peak.rise() < MOST
        time.sleep(0.02)


def pour(sock: socket.socket) -> None:
    """Sends until the socket is shut down."""
    with suppress(OSError):
        while True:
            sock.sendall(bytes(1 << 20))


def drink(sock: socket.socket) -> None:
    """Takes what comes until the end."""
    with suppress(OSError):
        while sock.recv(1 << 18):
            pass


def fill(sock: socket.socket) -> None:
    """Sends until everything on the way is full."""
    sock.settimeout(0.2)
    with suppress(TimeoutError):
        while True:
            sock.send(bytes(1 << 16))
    sock.settimeout(None)


@contextmanager
def beside(action: Callable[[socket.socket], None], sock: socket.socket) -> Iterator[None]:
    """On a thread of its own, until the socket is shut down at the end."""
    thread = threading.Thread(target=action, args=(sock,), name=action.__name__, daemon=True)
    thread.start()
    try:
        yield
    finally:
        with suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)
        thread.join(10)


@contextmanager
def window_shut(server: pog.End, targets: Sequence[str], window: int) -> Iterator[None]:
    """A client of HTTP/2 with a tunnel to each target, which gives no credit beyond the first window."""
    connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
    connection.initiate_connection()
    connection.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: window})
    fields = [(":method", "POST"), (":scheme", "http"), (":path", "/HTTPProxy/Run"), (":authority", "x")]
    fields += [("te", "trailers"), ("content-type", "application/grpc")]
    for target in targets:
        stream_id = connection.get_next_available_stream_id()
        connection.send_headers(stream_id, fields)
        connection.send_data(stream_id, encode.message(Packet(connect_request=ConnectRequest(host_port=target))))
    with socket.create_connection(server.address) as sock:
        sock.sendall(connection.data_to_send())
        yield


@pytest.mark.parametrize("window", [0, 65_535])
@pytest.mark.parametrize("count", [1, 20])
def test_a_destination_that_speaks_first_and_a_reader_whose_window_is_shut(
    origins: Origins, count: int, window: int
) -> None:
    """What it says has to be there before the relay is: the other tunnels, all opened at once, give it the time."""
    other = origins.start(silent).host_port
    server = pog.server(QUIET)
    with server.program, flood(count) as target:
        peak = Peak(server.pid)
        with window_shut(server, [target] * count + [other] * (30 - count), window):
            check_bounded(peak)


def test_ten_honest_tunnels_over_a_slow_link(origins: Origins) -> None:
    server = pog.server(QUIET)
    with server.program, flood(10) as target, narrow(server.address, down=2e6) as link:
        client = pog.client(link, QUIET)
        with client.program, ExitStack() as stack:
            peaks = idle(stack, (client, server), origins.start(silent).host_port, 10)
            users = [stack.enter_context(socket.create_connection(client.address)) for _ in range(10)]
            for user in users:
                user.sendall(connect_head(target))
            for user in users:
                stack.enter_context(beside(drink, user))
            check_bounded(*peaks)


def test_much_behind_connect_over_a_slow_uplink(origins: Origins) -> None:
    target = origins.start(silent).host_port
    server = pog.server(QUIET)
    with server.program, narrow(server.address, up=1e6) as link:
        client = pog.client(link, QUIET)
        with client.program, ExitStack() as stack:
            peaks = idle(stack, (client, server), target, 2)
            busy = stack.enter_context(connect(client.address, target))
            fill(busy.sock)
            stack.enter_context(beside(pour, busy.sock))
            late = stack.enter_context(connect(client.address, target, early=bytes(256 * 1024)))
            stack.enter_context(beside(pour, late.sock))
            check_bounded(*peaks)


def idle(stack: ExitStack, ends: Sequence[pog.End], target: str, count: int) -> list[Peak]:
    """Peaks above the memory with this number of tunnels idle, which go when the stack does."""
    client = ends[0]
    for _ in range(count):
        assert stack.enter_context(connect(client.address, target)).status == 200
    return [Peak(end.pid) for end in ends]
