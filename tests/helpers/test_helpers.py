"""The helpers themselves, without any program of pog's."""

from __future__ import annotations

import hashlib
import socket
import sys

import grpc
import pytest

from pog.proto.grpcproxy_pb2 import ConnectResponse, Packet
from tests.helpers import original, rpc
from tests.helpers.origin import Origins, blocks, dialogue, digest, echo, reset_after, silent, sink, source
from tests.helpers.process import Program
from tests.helpers.user import read_answer, samples
from tests.helpers.watch import descriptors, eventually, resident

SIZE = 3 * (1 << 20) + 5


def test_blocks_have_the_size_and_the_digest() -> None:
    data = b"".join(blocks(SIZE))
    assert len(data) == SIZE
    assert hashlib.sha256(data).hexdigest() == digest(SIZE)
    assert data[: 1 << 20] != data[1 << 20 : 2 << 20]


def receive_all(sock: socket.socket) -> bytes:
    data = b""
    while part := sock.recv(1 << 16):
        data += part
    return data


def test_origins(origins: Origins) -> None:
    def dial(port: int) -> socket.socket:
        return socket.create_connection(("127.0.0.1", port), 5)

    with dial(origins.start(source(SIZE)).port) as sock:
        assert hashlib.sha256(receive_all(sock)).hexdigest() == digest(SIZE)
    with dial(origins.start(sink(SIZE)).port) as sock:
        sock.sendall(b"".join(blocks(SIZE)))
        assert receive_all(sock).decode() == digest(SIZE)
    with dial(origins.start(dialogue).port) as sock:
        sock.sendall(b"abc")
        sock.shutdown(socket.SHUT_WR)
        assert receive_all(sock).startswith(b"3 ")
    with dial(origins.start(reset_after(2)).port) as sock, pytest.raises(ConnectionResetError):
        sock.sendall(b"ab")
        sock.recv(1)
    quiet = origins.start(silent)
    with dial(quiet.port):
        eventually(lambda: live(quiet.live, 1))
    eventually(lambda: live(quiet.live, 0))


def live(found: int, expected: int) -> None:
    assert found == expected


def test_a_program_gets_only_its_environment_and_its_output_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POG_AUTH_X", "developer's")
    # Everything is imported before «up»: an import reads folders, and each is an open descriptor for a moment.
    code = (
        "import os, signal, sys; print(sorted(k for k in os.environ if 'POG' in k)); print('up', flush=True); "
        "sys.stdin.read(); signal.pause()"
    )
    with Program([sys.executable, "-c", code], {"POG_A": "1"}) as program:
        program.wait_line("^up$")
        assert program.stdout[0] == "['POG_A']"
        assert resident(program.pid) > 1 << 20
        assert descriptors(program.pid) == ["/dev/null", "pipe", "pipe"]
        program.kill()
    with pytest.raises(AssertionError, match="no line like"):
        program.wait_line("never")


def test_a_program_that_fails_says_so() -> None:
    with Program([sys.executable, "-c", "print('up', flush=True); import signal; signal.pause()"]) as program:
        program.wait_line("^up$")
        with pytest.raises(AssertionError, match="ended with status -15"):
            program.stop()


def test_the_original_ends_at_the_first_end_of_data(origins: Origins) -> None:
    behaviour = original.Original()
    with original.serving(behaviour) as sc, rpc.channel(str(sc.address)) as opened:
        with rpc.Tunnel(opened) as tunnel:
            tunnel.connect(origins.start(echo).host_port)
            assert tunnel.next() == Packet(connect_response=ConnectResponse())
            tunnel.payload(b"abc")
            assert tunnel.next() == Packet(payload=b"abc")
            tunnel.end()
            assert tunnel.rest() == []
            assert tunnel.status()[0] is grpc.StatusCode.OK
        with rpc.Tunnel(opened) as tunnel:
            tunnel.payload(b"too early")
            assert tunnel.status()[0] is grpc.StatusCode.FAILED_PRECONDITION
        assert len(behaviour.faults) == 1


def test_an_answer_is_read_whole_however_it_is_split() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        for byte in b"HTTP/1.1 200 OK\r\nA: b\r\n\r\nrest":
            theirs.send(bytes([byte]))
        answer = read_answer(ours)
        assert (answer.status, answer.reason, answer.fields) == (200, "OK", {"a": "b"})
        assert answer.receive(4) == b"rest"


def test_samples() -> None:
    assert samples('# TYPE a gauge\na 1\na{y="2",x="1"} 3\n') == {"a": 1.0, 'a{x="1",y="2"}': 3.0}
