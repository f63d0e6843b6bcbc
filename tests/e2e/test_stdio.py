"""Programs whose standard input, output or error is closed, or leads to where nothing can be written."""

from __future__ import annotations

import os
import signal
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import pytest

from tests.helpers import pog, rpc
from tests.helpers.items import item
from tests.helpers.origin import Origins, echo, unused_port
from tests.helpers.process import Program
from tests.helpers.user import Address, basic, connect, get, samples
from tests.helpers.watch import descriptors, eventually

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

CLOSED = ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"]
FULL = [">/dev/full", "2>/dev/full", ">/dev/full 2>&1"]


def started(redirection: str, *args: str, env: dict[str, str] | None = None, fds: Iterable[int] = ()) -> Program:
    """pog, with that said to a shell."""
    return Program(["sh", "-c", f'exec "$@" {redirection}', "sh", *pog.POG, *args], env, fds)


@contextmanager
def full_pipe() -> Iterator[int]:
    """The end to write to of a pipe that is full and that nobody reads."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writer, bytes(4096))
    os.set_blocking(writer, True)
    yield writer
    os.close(reader)
    os.close(writer)


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


@pytest.mark.parametrize("workers", [(), ("--workers", "2")], ids=["one process", "2 workers"])
def test_messages_that_nobody_reads_hold_nobody_up(workers: tuple[str, ...], origins: Origins, tmp_path: Path) -> None:
    """They are dropped, counted, and with them what a program says at its start and at its end."""
    at, behind = (("127.0.0.1", unused_port()) for _ in range(2))
    server_addr, listen = ("{}:{}".format(*each) for each in (at, behind))
    (tmp_path / "items").write_text(item("me", "pw"))
    env = {"EGRESS_ALLOW": pog.LOOPBACK, "POG_AUTH_FILE": str(tmp_path / "items")}
    of_client = {"CLIENT_AUTH_FILE": str(tmp_path / "items"), "CLIENT_POG_AUTH": "me:pw"}
    args = ("--insecure", "--server-addr", server_addr, "--listen", listen)
    with full_pipe() as writer:
        to_it = f"2>/dev/fd/{writer}"
        server = started(to_it, "server", "--listen", server_addr, *workers, env=env, fds=(writer,))
        client = started(to_it, "client", *args, env=of_client, fds=(writer,))
        with server, client:
            eventually(lambda: check_answers(at), 20)
            eventually(lambda: check_answers(behind), 20)
            for end, address in ((server, at), (client, behind)):
                before = dropped(address)
                end.send_signal(signal.SIGHUP)
                eventually(lambda address=address, before=before: check_more(address, before))  # type: ignore[misc]
            fields = {"Proxy-Authorization": basic("me", "pw")}
            with connect(behind, origins.start(echo).host_port, fields) as tunnel:
                assert tunnel.status == 200
                tunnel.send(b"abc")
                assert tunnel.receive(3) == b"abc"
            for end in (client, server):
                end.send_signal(signal.SIGTERM)
                assert end.wait() == 0, end.output()


def dropped(address: Address) -> float:
    return samples(get(address, "/metrics")[1])["log_messages_dropped_total"]


def check_more(address: Address, before: float) -> None:
    assert dropped(address) > before


def test_a_name_that_standard_output_cannot_write_is_escaped(origins: Origins) -> None:
    """And the log goes on."""
    env = {"PYTHONIOENCODING": "ascii", "POG_AUTH_A": item("Zoë", "pw")}
    server = pog.server(env)
    with server.program:
        client = pog.client(server.host_port, {**env, "CLIENT_AUTH_A": item("Zoë", "pw"), "CLIENT_POG_AUTH": "Zoë:pw"})
        with client.program, rpc.channel(server.host_port) as channel:
            login = (("authorization", basic("Zoë", "pw")),)
            with rpc.Tunnel(channel, login) as tunnel:
                tunnel.connect("zürich")
                assert tunnel.next().connect_response.HasField("error")
            server.program.wait_line(r"^pog: z\\xfcrich Zo\\xeb HTTPS ")
            target = origins.start(echo).host_port
            for _ in range(2):
                with connect(client.address, target, {"Proxy-Authorization": basic("Zoë", "pw")}) as user:
                    assert user.status == 200
            client.program.wait_line(rf"^pog: {target} Zo\\xeb HTTPS ")
            server.program.wait_line(rf"^pog: {target} Zo\\xeb HTTPS ")


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
