"""SIGHUP: auth items from files are read again, and nothing that goes on is touched."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.helpers import pog
from tests.helpers.items import expiry, item
from tests.helpers.known_faults import LATE_DATA
from tests.helpers.origin import Origins, echo
from tests.helpers.process import Program
from tests.helpers.user import Address, basic, connect, get
from tests.helpers.watch import children, eventually

if TYPE_CHECKING:
    from tests.helpers.user import Answer


def status(proxy: Address, target: str, login: str) -> int:
    with connect(proxy, target, {"Proxy-Authorization": basic(*login.split(":"))}) as answer:
        return answer.status


def check_status(expected: int, proxy: Address, target: str, login: str) -> None:
    assert status(proxy, target, login) == expected


def check_talks(tunnel: Answer) -> None:
    tunnel.send(b"abc")
    assert tunnel.receive(3) == b"abc"


def test_the_clients_users(tmp_path: Path, origins: Origins) -> None:
    path = tmp_path / "users"
    path.write_text(f"# ours\n{item('a', 'a')}\n{item('b', 'b')}\n")
    target = origins.start(echo).host_port
    server = pog.server()
    with server.program:
        env = {"CLIENT_AUTH_FILE": str(path), "CLIENT_AUTH_C": item("c", "c", expiry(9))}
        client = pog.client(server.host_port, env)
        with client.program, connect(client.address, target, {"Proxy-Authorization": basic("a", "a")}) as tunnel:
            assert tunnel.status == 200
            for login, expected in (("a:a", 200), ("b:b", 200), ("c:c", 200), ("d:d", 407)):
                assert status(client.address, target, login) == expected
            path.write_text(f"{item('d', 'd', expiry(5))}\n")
            client.program.send_signal(signal.SIGHUP)
            client.program.wait_line("SIGHUP: 1 auth items from .*users, 1 from variables")
            for login, expected in (("a:a", 407), ("b:b", 407), ("c:c", 200), ("d:d", 200)):
                assert status(client.address, target, login) == expected
            check_talks(tunnel)
            earliest = client.metrics()['auth_item_earliest_expiry{name="CLIENT_AUTH_"}']
            assert earliest == pytest.approx(expiry(5).timestamp(), abs=60)


@pytest.mark.parametrize("content", ["", "nonsense\n", None])
def test_a_bad_file_changes_nothing_and_says_why(tmp_path: Path, origins: Origins, content: str | None) -> None:
    path = tmp_path / "users"
    path.write_text(item("a", "a"))
    target = origins.start(echo).host_port
    server = pog.server()
    with server.program:
        client = pog.client(server.host_port, {"CLIENT_AUTH_FILE": str(path)})
        with client.program:
            if content is None:
                path.unlink()
            else:
                path.write_text(content)
            client.program.send_signal(signal.SIGHUP)
            client.program.wait_line(f"SIGHUP: the auth items stay as they were: {path}")
            assert status(client.address, target, "a:a") == 200
            assert status(client.address, target, "b:b") == 407


@LATE_DATA
def test_the_servers_users_with_several_workers(tmp_path: Path, origins: Origins) -> None:
    path = tmp_path / "users"
    path.write_text(item("a", "a"))
    target = origins.start(echo).host_port
    server = pog.server({"POG_AUTH_FILE": str(path), "STACKS": ""}, "--workers", "2")
    with server.program:
        client = pog.client(server.host_port, {"CLIENT_POG_AUTH": "a:a"})
        with client.program, connect(client.address, target) as tunnel:
            assert tunnel.status == 200
            path.write_text(item("b", "b"))
            server.program.send_signal(signal.SIGHUP)
            eventually(lambda: check_reloaded(server, 2))
            check_talks(tunnel)
            with connect(client.address, target) as refused:
                assert refused.status == 503
            other = pog.client(server.host_port, {"CLIENT_POG_AUTH": "b:b"})
            with other.program, connect(other.address, target) as accepted:
                assert accepted.status == 200
        assert len(children(server.pid)) == 2


def check_reloaded(end: pog.End, times: int) -> None:
    assert end.program.output().count("SIGHUP: 1 auth items from") == times


def test_both_ends_of_up_and_a_worker_of_hypercorn(tmp_path: Path) -> None:
    """Hypercorn's own parent takes SIGHUP as an order to start new workers; its worker reads the file again."""
    path = tmp_path / "users"
    path.write_text(item("a", "a"))
    _, client = pog.up({"CLIENT_AUTH_FILE": str(path)}, "--auth-file", str(path))
    with client.program:
        client.program.send_signal(signal.SIGHUP)
        client.program.wait_line("SIGHUP: 1 auth items from")
    end = pog.hypercorn({"POG_AUTH_FILE": str(path), "LOG_LEVEL": "info"})
    with end.program:
        (worker,) = (pid for pid in children(end.pid) if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes())
        os.kill(worker, signal.SIGHUP)
        end.program.wait_line("SIGHUP: 1 auth items from")
        assert get(end.address, "/healthz")[0] == 200


@pytest.mark.parametrize("command", ["server", "client"])
def test_without_a_file_it_does_nothing(command: str) -> None:
    end = pog.server() if command == "server" else pog.client("127.0.0.1:1")
    with end.program:
        end.program.send_signal(signal.SIGHUP)
        end.program.wait_line("SIGHUP: there is no file of auth items")


@pytest.mark.parametrize(("command", "variable"), [("server", "POG_AUTH_FILE"), ("client", "CLIENT_AUTH_FILE")])
def test_a_bad_file_stops_the_start(tmp_path: Path, command: str, variable: str) -> None:
    path = tmp_path / "users"
    path.write_text("\n{}\n")
    program = Program([*pog.POG, command], {variable: str(path), "SERVER_ADDR": "a:1"})
    assert program.wait() == 2
    assert f"{variable}: must be the path of a file of auth items: {path}, line 2: must be" in program.output()
    program.check_output()
