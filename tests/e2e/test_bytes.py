"""What goes in at one end comes out at the other: complete, in order, with its ends."""

import asyncio
import hashlib
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from tests.conftest import Pair
from tests.helpers.origin import Origins, answer, blocks, dialogue, digest, echo, sink, source
from tests.helpers.tls import Authority, tls_exchange
from tests.helpers.user import connect, connect_head, send_head

MANY = 100 * 1_000_000


def test_a_page_over_tls_through_connect(pair: Pair, origins: Origins, authority: Authority) -> None:
    origin = origins.start(answer(b"hello"), tls=authority.server_context())
    with connect(pair.client.address, f"localhost:{origin.port}") as tunnel:
        assert tunnel.status == 200
        got = tls_exchange(tunnel, authority.user_context(), "localhost", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert got.startswith(b"HTTP/1.1 200 OK\r\n")
    assert got.endswith(b"\r\n\r\nhello")


@pytest.mark.parametrize("form", ["127.0.0.1:{}", "localhost:{}", "[::1]:{}"])
def test_forms_of_a_destination(pair: Pair, origins: Origins, form: str) -> None:
    origin = origins.start(echo, host="::1" if "::1" in form else "127.0.0.1")
    with connect(pair.client.address, form.format(origin.port)) as tunnel:
        assert tunnel.status == 200
        tunnel.send(b"abc")
        assert tunnel.receive(3) == b"abc"


def test_the_answer_to_connect_has_no_body_and_says_so(pair: Pair, origins: Origins) -> None:
    """RFC 9110 section 9.3.6: no Content-Length and no Transfer-Encoding in a 2xx to CONNECT."""
    with connect(pair.client.address, origins.start(echo).host_port) as tunnel:
        assert tunnel.head.startswith(b"HTTP/1.1 200")
        assert not {"content-length", "transfer-encoding", "connection"} & tunnel.fields.keys()


def test_100_megabytes_down(pair: Pair, origins: Origins) -> None:
    with connect(pair.client.address, origins.start(source(MANY)).host_port) as tunnel:
        assert tunnel.receive_digest() == (MANY, digest(MANY))


def test_100_megabytes_up(pair: Pair, origins: Origins) -> None:
    with connect(pair.client.address, origins.start(sink(MANY)).host_port) as tunnel:
        for block in blocks(MANY):
            tunnel.send(block)
        assert tunnel.receive_all().decode() == digest(MANY)


def test_both_directions_at_once(pair: Pair, origins: Origins) -> None:
    size = 20 * 1_000_000

    def pour() -> None:
        for block in blocks(size):
            tunnel.send(block)
        tunnel.half_close()

    with connect(pair.client.address, origins.start(echo).host_port) as tunnel:
        up = threading.Thread(target=pour, name="up")
        up.start()
        assert tunnel.receive_digest() == (size, digest(size))
        up.join()


@pytest.mark.parametrize("size", [1, 5, 60_000])
def test_bytes_right_behind_connect_are_not_lost(pair: Pair, origins: Origins, size: int) -> None:
    early = next(blocks(size))
    with connect(pair.client.address, origins.start(echo).host_port, early=early) as tunnel:
        assert tunnel.receive(size) == early
        tunnel.send(b"more")
        assert tunnel.receive(4) == b"more"


def test_an_end_right_behind_connect_is_not_lost(pair: Pair, origins: Origins) -> None:
    with socket.create_connection(pair.client.address, 10) as sock:
        sock.sendall(connect_head(origins.start(dialogue).host_port) + b"abc")
        sock.shutdown(socket.SHUT_WR)
        data = b""
        while part := sock.recv(1 << 16):
            data += part
    assert data.partition(b"\r\n\r\n")[2].decode() == f"3 {hashlib.sha256(b'abc').hexdigest()}"


def test_bytes_right_after_the_200_are_not_lost(pair: Pair, origins: Origins) -> None:
    """The original lost the first byte of every fourth tunnel."""
    target = origins.start(echo).host_port
    for number in range(200):
        with connect(pair.client.address, target) as tunnel:
            tunnel.send(b"GET %03d" % number)
            assert tunnel.receive(7) == b"GET %03d" % number


def test_a_head_in_single_bytes(pair: Pair, origins: Origins) -> None:
    data = connect_head(origins.start(echo).host_port) + b"abc"
    with socket.create_connection(pair.client.address, 10) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in data:
            sock.send(bytes([byte]))
        got = b""
        while not got.endswith(b"abc"):
            got += sock.recv(1 << 16) or b"the end"
    assert got.startswith(b"HTTP/1.1 200")


def test_a_destination_that_speaks_first(pair: Pair, origins: Origins) -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 hello\r\n")
        writer.write(await reader.readexactly(4))

    with connect(pair.client.address, origins.start(greet).host_port) as tunnel:
        assert tunnel.receive(11) == b"220 hello\r\n"
        tunnel.send(b"QUIT")
        assert tunnel.receive_all() == b"QUIT"


def test_the_user_ends_first_and_reads_the_answer(pair: Pair, origins: Origins) -> None:
    size = 3_000_000
    with connect(pair.client.address, origins.start(dialogue).host_port) as tunnel:
        for block in blocks(size):
            tunnel.send(block)
        tunnel.half_close()
        assert tunnel.receive_all().decode() == f"{size} {digest(size)}"


def test_the_destination_ends_first_and_reads_on(pair: Pair, origins: Origins) -> None:
    size = 3_000_000
    got: list[bytes] = []
    done = threading.Event()

    async def farewell(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"bye")
        writer.write_eof()
        got.append(await reader.read())
        done.set()

    with connect(pair.client.address, origins.start(farewell).host_port) as tunnel:
        assert tunnel.receive_all() == b"bye"
        for block in blocks(size):
            tunnel.send(block)
        tunnel.half_close()
        assert done.wait(10)
    assert hashlib.sha256(got[0]).hexdigest() == digest(size)


def test_a_tunnel_without_any_byte(pair: Pair, origins: Origins) -> None:
    with connect(pair.client.address, origins.start(dialogue).host_port) as tunnel:
        tunnel.half_close()
        assert tunnel.receive_all().startswith(b"0 ")


def test_more_tunnels_at_once_than_streams_on_a_connection(pair: Pair, origins: Origins) -> None:
    """Google's front end allows 100 streams on one connection."""
    target = origins.start(echo).host_port
    with ExitStack() as stack, ThreadPoolExecutor(16) as pool:
        tunnels = list(pool.map(lambda _: connect(pair.client.address, target), range(300)))
        for tunnel in tunnels:
            stack.enter_context(tunnel)
        for number, tunnel in enumerate(tunnels):
            tunnel.send(number.to_bytes(4, "big"))
        assert [int.from_bytes(tunnel.receive(4), "big") for tunnel in tunnels] == list(range(300))


def test_a_page_is_served_beside_tunnels(pair: Pair) -> None:
    """The client's own pages are on the proxy's port."""
    with send_head(pair.client.address, b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n") as page:
        assert page.status == 200
        assert "tunnelling_connections_total" in page.body
