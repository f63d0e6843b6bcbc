"""Plain http:// through both ends: an http.client on one side, an h11 on the other, which share nothing with pog."""

from __future__ import annotations

import hashlib
import http.client
import json
import socket
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.helpers.origin import blocks, digest, unused_port
from tests.helpers.plain import plain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import Pair
    from tests.helpers.origin import Origin, Origins

SECONDS = 15.0
SIZE = 5_000_001


@pytest.fixture(scope="module")
def origin(origins: Origins) -> Origin:
    return origins.start(plain)


@contextmanager
def proxy(pair: Pair) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection(*pair.client.address, timeout=SECONDS)
    try:
        yield connection
    finally:
        connection.close()


def ask(connection: http.client.HTTPConnection, origin: Origin, path: str, method: str = "GET", **more: Any) -> Any:
    connection.request(method, f"http://{origin.host_port}{path}", **more)
    return connection.getresponse()


def none_left(pair: Pair, origin: Origin) -> None:
    deadline = time.monotonic() + SECONDS
    while pair.client.tunnels() or pair.server.tunnels() or origin.live:
        assert time.monotonic() < deadline, (pair.client.tunnels(), pair.server.tunnels(), origin.live)
        time.sleep(0.01)


def test_what_the_destination_sees(pair: Pair, origin: Origin) -> None:
    with proxy(pair) as connection:
        headers = {
            "Proxy-Authorization": "Basic c2VjcmV0",
            "Proxy-Connection": "keep-alive",
            "Connection": "X-Mine",
            "X-Mine": "1",
            "X-Other": "2",
        }
        seen = json.load(ask(connection, origin, "/seen?q=1", "POST", body=b"hello", headers=headers))
    assert seen["line"] == "POST /seen?q=1 HTTP/1.1"
    assert [field for field in seen["fields"] if field[0] != "Accept-Encoding"] == [
        ["Host", origin.host_port],
        ["X-Other", "2"],
        ["Content-Length", "5"],
    ]
    assert seen["sha256"] == hashlib.sha256(b"hello").hexdigest()
    none_left(pair, origin)


def test_many_requests_to_two_destinations_on_one_connection(pair: Pair, origin: Origin, origins: Origins) -> None:
    other = origins.start(plain)
    before = origin.accepted
    with proxy(pair) as connection:
        for number in range(20):
            answer = ask(connection, (origin, other)[number % 2], f"/length/{number}")
            assert answer.status == 200
            assert answer.read() == b"".join(blocks(number))
        sock = connection.sock
        assert sock is not None and sock.fileno() >= 0
        assert (origin.accepted - before, other.accepted) == (1, 1)
        assert pair.client.tunnels() == 2
    none_left(pair, origin)


@pytest.mark.parametrize("how", ["length", "chunked", "end"])
def test_much_comes_down_whole(pair: Pair, origin: Origin, how: str) -> None:
    with proxy(pair) as connection:
        answer = ask(connection, origin, f"/{how}/{SIZE}")
        sha = hashlib.sha256()
        while data := answer.read(1 << 16):
            sha.update(data)
        assert sha.hexdigest() == digest(SIZE)
        assert (answer.getheader("Connection") == "close") is (how == "end")
        assert json.load(ask(connection, origin, "/seen"))["line"] == "GET /seen HTTP/1.1"
    none_left(pair, origin)


@pytest.mark.parametrize("chunked", [False, True])
def test_much_goes_up_whole(pair: Pair, origin: Origin, chunked: bool) -> None:
    with proxy(pair) as connection:
        headers = {} if chunked else {"Content-Length": str(SIZE)}
        answer = ask(connection, origin, "/seen", "PUT", body=blocks(SIZE), headers=headers, encode_chunked=chunked)
        seen = json.load(answer)
        assert (seen["size"], seen["sha256"]) == (SIZE, digest(SIZE))
    none_left(pair, origin)


def test_answers_without_a_content(pair: Pair, origin: Origin) -> None:
    with proxy(pair) as connection:
        for status in (204, 304):
            answer = ask(connection, origin, f"/status/{status}")
            assert (answer.status, answer.read()) == (status, b"")
        for path in ("/length/5", "/chunked/5"):
            assert ask(connection, origin, path, "HEAD").read() == b""
        assert ask(connection, origin, "/seen").status == 200
    none_left(pair, origin)


def test_refusals_do_not_end_the_connection(pair: Pair, origin: Origin) -> None:
    with proxy(pair) as connection:
        connection.request("GET", f"http://127.0.0.1:{unused_port()}/")
        answer = connection.getresponse()
        assert answer.status == 502
        assert "error=connection_refused" in (answer.getheader("Proxy-Status") or "")
        assert b"refused the connection" in answer.read()
        answer = ask(connection, origin, "/quiet")
        assert (answer.status, "error=connection_terminated" in (answer.getheader("Proxy-Status") or "")) == (502, True)
        answer.read()
        assert ask(connection, origin, "/length/5").status == 200
    none_left(pair, origin)


def talk(pair: Pair, data: bytes) -> socket.socket:
    sock = socket.create_connection(pair.client.address, SECONDS)
    sock.sendall(data)
    return sock


def receive_all(sock: socket.socket) -> bytes:
    with sock:
        return b"".join(iter(lambda: sock.recv(1 << 16), b""))


def test_interim_answers_trailers_and_pipelining_byte_for_byte(pair: Pair, origin: Origin) -> None:
    def get(path: str, *fields: str) -> bytes:
        head = [f"GET http://{origin.host_port}{path} HTTP/1.1", f"Host: {origin.host_port}", *fields, "", ""]
        return "\r\n".join(head).encode()

    data = get("/early") + get("/chunked/3") + get("/length/3", "Connection: close")
    three = b"".join(blocks(3))
    answers = receive_all(talk(pair, data))
    assert answers == (
        b"HTTP/1.1 103 \r\nLink: </s>; rel=preload\r\n\r\n"
        b"HTTP/1.1 200 \r\nContent-Length: 4\r\n\r\nlate"
        b"HTTP/1.1 200 \r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n%b\r\n0\r\nX-Sum: 3\r\n\r\n"
        b"HTTP/1.1 200 \r\nContent-Length: 3\r\nConnection: close\r\n\r\n%b" % (three, three)
    )
    none_left(pair, origin)


def test_an_answer_that_is_cut_short_is_a_reset(pair: Pair, origin: Origin) -> None:
    head = f"GET http://{origin.host_port}/cut/1000 HTTP/1.1\r\nHost: h\r\n\r\n".encode()
    with pytest.raises(ConnectionResetError):
        receive_all(talk(pair, head))
    none_left(pair, origin)


def test_an_upgrade(pair: Pair, origin: Origin) -> None:
    fields = f"Host: {origin.host_port}\r\nConnection: keep-alive, Upgrade\r\nUpgrade: echo\r\n\r\n"
    sock = talk(pair, f"GET http://{origin.host_port}/echo HTTP/1.1\r\n{fields}".encode() + b"early, ")
    sock.sendall(b"later")
    sock.shutdown(socket.SHUT_WR)
    assert receive_all(sock) == b"HTTP/1.1 101 \r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\nearly, later"
    none_left(pair, origin)
