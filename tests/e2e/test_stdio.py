"""Programs whose standard input, output or error is closed, or leads to where nothing can be written."""

from __future__ import annotations

import os
import signal

import pytest

from tests.helpers import pog
from tests.helpers.origin import Origins, echo, unused_port
from tests.helpers.process import Program
from tests.helpers.user import Address, connect, get
from tests.helpers.watch import descriptors, eventually

CLOSED = ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"]
FULL = [">/dev/full", "2>/dev/full", ">/dev/full 2>&1"]


def started(redirection: str, *args: str, env: dict[str, str] | None = None) -> Program:
    """pog, with that said to a shell."""
    return Program(["sh", "-c", f'exec "$@" {redirection}', "sh", *pog.POG, *args], env)


def check_answers(address: Address) -> None:
    try:
        assert get(address, "/metrics")[0] == 200
    except OSError as error:
        raise AssertionError from error


@pytest.mark.parametrize("workers", [(), ("--workers", "2")], ids=["one process", "2 workers"])
@pytest.mark.parametrize("redirection", [*CLOSED, *FULL])
def test_tunnels_go_through_both_ends(redirection: str, workers: tuple[str, ...], origins: Origins) -> None:
    at, behind = (("127.0.0.1", unused_port()) for _ in range(2))
    server_addr, listen = ("{}:{}".format(*each) for each in (at, behind))
    server = started(redirection, "server", "--listen", server_addr, *workers, env={"EGRESS_ALLOW": pog.LOOPBACK})
    client = started(redirection, "client", "--insecure", "--server-addr", server_addr, "--listen", listen)
    with server, client:
        eventually(lambda: check_answers(at), 20)
        eventually(lambda: check_answers(behind), 20)
        for _ in range(2):
            with connect(behind, origins.start(echo).host_port) as tunnel:
                assert tunnel.status == 200
                tunnel.send(b"abc")
                assert tunnel.receive(3) == b"abc"
        for end in (client, server):
            end.send_signal(signal.SIGTERM)
            assert end.wait() == 0, end.output()
            end.check_output()


@pytest.mark.parametrize("redirection", CLOSED)
def test_no_socket_gets_the_number_of_a_standard_stream(redirection: str) -> None:
    port = unused_port()
    with started(redirection, "server", "--port", str(port)) as server:
        eventually(lambda: check_answers(("127.0.0.1", port)), 20)
        assert "/dev/null" in descriptors(server.pid)
        for number in range(3):
            assert descriptor(server.pid, number) in ("/dev/null", "pipe")


def descriptor(pid: int, number: int) -> str:
    return os.readlink(f"/proc/{pid}/fd/{number}").partition(":[")[0]


def test_both_ends_in_one_process_start_where_nothing_can_be_written() -> None:
    port = unused_port()
    with started(">/dev/full 2>&1", "up", "--listen", f"127.0.0.1:{port}"):
        eventually(lambda: check_answers(("127.0.0.1", port)), 20)


@pytest.mark.parametrize("redirection", [">/dev/full", "2>/dev/full", "2>&-"])
def test_a_result_that_cannot_be_written_is_a_failure_and_a_status_stays(redirection: str) -> None:
    assert started(redirection, "server", "--port", "x").wait() == 2
    item = started(redirection, "auth", "new", "a", "--password", "b")
    assert item.wait() == (1 if redirection == ">/dev/full" else 0)
