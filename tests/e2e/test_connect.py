"""`pog connect` as a program in pipes, as ssh and nc are used."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

import pytest

from tests.helpers import pog
from tests.helpers.origin import (
    blocks,
    dialogue,
    digest,
    echo,
    farewell,
    reset_after,
    silent,
    sink,
    source,
    unused_port,
)
from tests.helpers.process import ROOT
from tests.helpers.watch import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.helpers.origin import Origins

MANY = 20_000_000
SECONDS = 20.0


def command(server: pog.End, target: str, *args: str) -> list[str]:
    return [*pog.POG, "connect", "--insecure", "--server-addr", server.host_port, *args, target]


def environ(**more: str) -> dict[str, str]:
    """Nothing of the developer's own settings."""
    return {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ} | more


def run(args: list[str], data: bytes = b"", **env: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(args, input=data, capture_output=True, timeout=SECONDS, cwd=ROOT, env=environ(**env))


@contextmanager
def piped(args: list[str]) -> Iterator[tuple[subprocess.Popen[bytes], IO[bytes], IO[bytes]]]:
    """A running command, with the pipes to its input and from its output."""
    pipe = subprocess.PIPE
    with subprocess.Popen(args, stdin=pipe, stdout=pipe, stderr=pipe, cwd=ROOT, env=environ()) as process:
        assert process.stdin is not None and process.stdout is not None
        try:
            yield process, process.stdin, process.stdout
        finally:
            process.kill()


def error_of(process: subprocess.Popen[bytes]) -> str:
    assert process.stderr is not None
    return process.stderr.read().decode()


def check_quiet(shared_server: pog.End) -> None:
    assert shared_server.tunnels() == 0


def test_all_bytes_both_ways(shared_server: pog.End, origins: Origins) -> None:
    data = b"".join(blocks(MANY))
    done = run(command(shared_server, origins.start(echo).host_port), data)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == data


def test_the_end_of_input_is_passed_on_and_the_destination_may_still_answer(
    shared_server: pog.End, origins: Origins
) -> None:
    done = run(command(shared_server, origins.start(dialogue).host_port), b"".join(blocks(1000)))
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode() == f"1000 {digest(1000)}"


def test_the_end_of_output_is_passed_on_and_input_goes_on(shared_server: pog.End, origins: Origins) -> None:
    origin = origins.start(farewell)
    with piped(command(shared_server, origin.host_port)) as (process, stdin, stdout):
        assert stdout.read() == b"bye"
        assert process.poll() is None
        stdin.write(b"x" * 100_000)
        stdin.close()
        assert process.wait(SECONDS) == 0
        assert error_of(process) == ""


def test_a_dialogue_without_any_end(shared_server: pog.End, origins: Origins) -> None:
    with piped(command(shared_server, origins.start(echo).host_port)) as (process, stdin, stdout):
        for word in (b"one", b"two"):
            stdin.write(word)
            stdin.flush()
            assert stdout.read(3) == word
        process.send_signal(signal.SIGINT)
        assert process.wait(SECONDS) == 130
        assert error_of(process) == ""
    eventually(lambda: check_quiet(shared_server))


def test_a_signal_ends_it_and_leaves_nothing_at_the_server(shared_server: pog.End, origins: Origins) -> None:
    with piped(command(shared_server, origins.start(echo).host_port)) as (process, stdin, stdout):
        stdin.write(b"abc")
        stdin.flush()
        assert stdout.read(3) == b"abc"
        process.terminate()
        assert process.wait(SECONDS) == -signal.SIGTERM
    eventually(lambda: check_quiet(shared_server))


def test_files_and_devices(shared_server: pog.End, origins: Origins, tmp_path: Path) -> None:
    """What no event loop can wait for."""
    (tmp_path / "in").write_bytes(b"".join(blocks(MANY)))
    for target, given, expected in (
        (origins.start(sink(MANY)), tmp_path / "in", digest(MANY).encode()),
        (origins.start(source(MANY)), "/dev/null", b"".join(blocks(MANY))),
    ):
        with open(given, "rb") as stdin, open(tmp_path / "out", "wb") as stdout:
            args = command(shared_server, target.host_port)
            subprocess.run(args, stdin=stdin, stdout=stdout, check=True, timeout=SECONDS, cwd=ROOT, env=environ())
        assert (tmp_path / "out").read_bytes() == expected


@pytest.mark.parametrize("blocking", [True, False], ids=["blocking", "non-blocking"])
def test_one_socket_for_both(blocking: bool, shared_server: pog.End, origins: Origins) -> None:
    """As inetd and socat give it; the end of output leaves input open."""
    ours, theirs = socket.socketpair()
    theirs.setblocking(blocking)
    args = command(shared_server, origins.start(farewell).host_port)
    number = theirs.fileno()
    with ours, subprocess.Popen(args, stdin=number, stdout=number, cwd=ROOT, env=environ()) as process:
        theirs.close()
        ours.settimeout(SECONDS)
        assert ours.recv(10, socket.MSG_WAITALL) == b"bye"
        ours.sendall(b"x" * 1_000_000)
        ours.shutdown(socket.SHUT_WR)
        assert process.wait(SECONDS) == 0


def test_a_destination_that_resets(shared_server: pog.End, origins: Origins) -> None:
    origin = origins.start(reset_after(3))
    with piped(command(shared_server, origin.host_port)) as (process, stdin, _):
        stdin.write(b"abc")
        stdin.flush()
        assert process.wait(SECONDS) == 1
        line = error_of(process)
    assert line.startswith(f"pog: the tunnel to {origin.host_port} broke off: ")
    assert line.count("\n") == 1


def test_a_reader_that_leaves(shared_server: pog.End, origins: Origins) -> None:
    with piped(command(shared_server, origins.start(source(MANY)).host_port)) as (process, _, stdout):
        assert len(stdout.read(10)) == 10
        stdout.close()
        assert process.wait(SECONDS) == 1
        assert error_of(process) == "pog: standard output: Broken pipe\n"
    eventually(lambda: check_quiet(shared_server))


def test_input_that_cannot_be_read(shared_server: pog.End, origins: Origins) -> None:
    args = command(shared_server, origins.start(silent).host_port)
    with open(os.devnull, "wb") as unreadable:
        done = subprocess.run(args, stdin=unreadable, capture_output=True, timeout=SECONDS, cwd=ROOT, env=environ())
    assert (done.returncode, done.stderr) == (1, b"pog: standard input: Bad file descriptor\n")


async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Does nothing, whatever comes."""
    await asyncio.Event().wait()


def test_a_tunnel_that_is_silent_for_too_long(shared_server: pog.End, origins: Origins) -> None:
    target = origins.start(silent).host_port
    with piped(command(shared_server, target, "--idle-timeout", "0.2")) as (process, _, _):
        assert process.wait(SECONDS) == 1
        assert "nothing came or went for 0.2 s (TUNNEL_IDLE_TIMEOUT)" in error_of(process)
    target = origins.start(deaf).host_port
    done = run(command(shared_server, target, "--half-close-timeout", "0.2"))
    assert done.returncode == 1
    assert b"(TUNNEL_HALF_CLOSE_TIMEOUT)" in done.stderr


def test_who_has_the_answer_and_says_nothing_more_is_done(shared_server: pog.End, origins: Origins) -> None:
    """A person at a terminal, whom the destination has left."""
    target = origins.start(source(1000)).host_port
    with piped(command(shared_server, target, "--half-close-timeout", "0.2")) as (process, _, stdout):
        assert stdout.read() == b"".join(blocks(1000))
        assert process.wait(SECONDS) == 0
        assert error_of(process) == ""


def test_why_there_is_no_tunnel_is_one_line(shared_server: pog.End) -> None:
    nobody = f"127.0.0.1:{unused_port()}"
    done = run(command(shared_server, nobody))
    assert (done.returncode, done.stderr) == (1, f"pog: {nobody} refused the connection: Connection refused\n".encode())
    done = run([*pog.POG, "connect", "--insecure", "--server-addr", nobody, "--exit-wait", "0.1", "example.com:22"])
    assert done.returncode == 1
    assert done.stderr.startswith(f"pog: {nobody}: no connection within 0.1 s: ".encode())
    assert done.stderr.count(b"\n") == 1


@pytest.mark.parametrize(
    ("args", "problem"),
    [
        (["--server-addr", "a:1", "example.com"], "pog: HOST:PORT: expected host:port, not 'example.com'"),
        (["--server-addr", "a:1", "example.com:ssh"], "pog: HOST:PORT: expected a port from 1 to 65535"),
        (["example.com:22"], "pog: SERVER_ADDR: is not set"),
    ],
)
def test_bad_usage(args: list[str], problem: str) -> None:
    done = run([*pog.POG, "connect", *args], XDG_CONFIG_HOME="/nonexistent")
    assert done.returncode == 2
    assert done.stderr.decode().startswith(problem)


def test_ipv6_as_ssh_writes_it(shared_server: pog.End, origins: Origins) -> None:
    origin = origins.start(echo, host="::1")
    for target in (f"::1:{origin.port}", f"[::1]:{origin.port}"):
        assert run(command(shared_server, target), b"abc").stdout == b"abc"


def test_it_needs_no_server_to_connect_directly(origins: Origins) -> None:
    assert run([*pog.POG, "connect", origins.start(echo).host_port], b"abc", SERVER_ADDR="direct:").stdout == b"abc"
