"""`pog server --workers N`: several processes behind one port, one sum in the metrics, one end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest

from tests.helpers import pog, rpc
from tests.helpers.items import item
from tests.helpers.known_faults import LATE_DATA
from tests.helpers.origin import Origin, Origins, echo, unused_port
from tests.helpers.process import Program
from tests.helpers.user import basic, connect, get
from tests.helpers.watch import children, descriptors, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

CONNECTIONS, TUNNELS = 10, 5


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the programs under test put temporary files."""
    return tmp_path


@pytest.fixture
def four(folder: Path) -> Iterator[pog.End]:
    end = pog.server({"TMPDIR": str(folder)}, "--workers", "4")
    with end.program:
        yield end
        eventually(lambda: check_children(end, 4))


def check_children(end: pog.End, count: int) -> list[int]:
    pids = children(end.pid)
    assert len(pids) == count
    return pids


def open_tunnels(stack: ExitStack, end: pog.End, origin: Origin, connections: int, tunnels: int) -> list[rpc.Tunnel]:
    """Tunnels on this number of connections, each of which goes to a worker that the kernel picks."""
    found = []
    for _ in range(connections):
        opened = stack.enter_context(rpc.channel(end.host_port))
        for _ in range(tunnels):
            tunnel = stack.enter_context(rpc.Tunnel(opened))
            tunnel.connect(origin.host_port)
            assert not tunnel.next().connect_response.HasField("error")
            found.append(tunnel)
    return found


def check_tunnels(end: pog.End, count: int) -> None:
    assert end.tunnels() == count


def test_every_scrape_is_the_sum_over_all_workers(four: pog.End, origins: Origins) -> None:
    with ExitStack() as stack:
        tunnels = open_tunnels(stack, four, origins.start(echo), CONNECTIONS, TUNNELS)
        assert [four.tunnels() for _ in range(20)] == [CONNECTIONS * TUNNELS] * 20
        for tunnel in tunnels:
            tunnel.payload(b"abc")
            assert tunnel.next().payload == b"abc"
        assert 'pid="' not in get(four.address, "/metrics")[1]
    eventually(lambda: check_tunnels(four, 0))
    count = CONNECTIONS * TUNNELS
    eventually(lambda: check_counted(four, "tunnels_opened_total", count))
    eventually(lambda: check_counted(four, 'tunnel_bytes_total{direction="up"}', count * 3))
    eventually(lambda: check_counted(four, 'grpc_io_server_started_rpcs{grpc_server_method="HTTPProxy/Run"}', count))


def check_counted(end: pog.End, name: str, value: float) -> None:
    """A worker tells the others what it counts once a second; only the gauge of open tunnels is told at once."""
    assert end.metrics()[name] == value


def test_connections_go_to_several_workers(four: pog.End) -> None:
    """That one of four gets all sixteen is a chance of one in a thousand million."""
    idle = sum(map(sockets, check_children(four, 4)))
    with ExitStack() as stack:
        for _ in range(16):
            stack.enter_context(socket.create_connection(four.address))
        found = eventually(lambda: check_sockets(four, idle + 16))
        assert max(found) < idle / 4 + 16


def check_sockets(end: pog.End, count: int) -> list[int]:
    found = [sockets(pid) for pid in children(end.pid)]
    assert sum(found) == count
    return found


def sockets(pid: int) -> int:
    return descriptors(pid).count("socket")


def test_a_worker_that_dies_takes_its_tunnels_along_and_is_replaced(four: pog.End, origins: Origins) -> None:
    origin = origins.start(echo)
    with ExitStack() as stack:
        open_tunnels(stack, four, origin, CONNECTIONS, TUNNELS)
        opened = CONNECTIONS * TUNNELS
        eventually(lambda: check_counted(four, "tunnels_opened_total", opened))
        victims = check_children(four, 4)
        for pid in victims[:2]:
            os.kill(pid, signal.SIGKILL)
        # No ghost stays in the gauge: what the killed ones had open is gone, at the origin too.
        eventually(lambda: check_gone(four, victims[:2]))
        eventually(lambda: check_live(four, origin))
        check_counted(four, "tunnels_opened_total", opened)
        four.program.wait_line(r"worker \d \(PID \d+\) ended by SIGKILL; next in 1 s")
        fresh = eventually(lambda: check_children(four, 4))
        assert set(victims[2:]) < set(fresh)
        with ExitStack() as more:
            open_tunnels(more, four, origin, 8, 1)
            eventually(lambda: check_counted(four, "tunnels_opened_total", opened + 8))


def check_gone(end: pog.End, pids: list[int]) -> None:
    assert not set(pids) & set(children(end.pid))


def check_live(end: pog.End, origin: Origin) -> None:
    assert end.tunnels() == origin.live


@pog.engine_only
def test_a_worker_that_is_told_to_end_drains_and_is_replaced(four: pog.End, origins: Origins) -> None:
    """SIGTERM at one worker: its tunnels go on, the client's next ones come through another worker."""
    client = pog.client(four.host_port)
    origin = origins.start(echo)
    with client.program, connect(client.address, origin.host_port) as old:
        before = check_children(four, 4)
        busy = max(before, key=sockets)
        os.kill(busy, signal.SIGTERM)
        for _ in range(20):
            with connect(client.address, origin.host_port) as new:
                assert new.status == 200
                new.send(b"abc")
                assert new.receive(3) == b"abc"
        old.send(b"abc")
        assert old.receive(3) == b"abc"
        eventually(lambda: check_gone(four, [busy]))
        eventually(lambda: check_children(four, 4))


def check_no_process(pids: list[int]) -> None:
    assert not [pid for pid in pids if Path(f"/proc/{pid}/stat").exists() and state(pid) != "Z"]


def state(pid: int) -> str:
    """A process whose parent was killed may wait for a while to be noticed by the next one up."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["term", "int"])
def test_a_signal_at_all_of_them_is_one_signal(folder: Path, origins: Origins, number: signal.Signals) -> None:
    """A terminal sends it to the group, a service manager to every process; open tunnels have their time."""
    end = pog.server({"TMPDIR": str(folder), "DRAIN_TIMEOUT": "60"}, "--workers", "2")
    with end.program, ExitStack() as stack:
        tunnels = open_tunnels(stack, end, origins.start(echo), 4, 2)
        os.killpg(end.pid, number)
        eventually(lambda: check_refuses(end))
        for tunnel in tunnels:
            tunnel.payload(b"abc")
            assert tunnel.next().payload == b"abc"
            tunnel.end()
            assert tunnel.rest() == []
        assert end.program.wait() == 0, end.program.output()
        end.program.check_output()
    assert list(folder.iterdir()) == []


def check_refuses(end: pog.End) -> None:
    try:
        socket.create_connection(end.address, 5).close()
    except ConnectionRefusedError:
        return
    except ConnectionResetError:  # it was in the queue of a socket that closed
        pass
    raise AssertionError("still accepts")


def test_a_second_signal_ends_all_of_them_now(folder: Path, origins: Origins) -> None:
    end = pog.server({"TMPDIR": str(folder), "DRAIN_TIMEOUT": "60"}, "--workers", "2")
    with end.program, ExitStack() as stack:
        open_tunnels(stack, end, origins.start(echo), 2, 1)
        workers = check_children(end, 2)
        end.program.send_signal(signal.SIGTERM)
        eventually(lambda: check_refuses(end))
        end.program.send_signal(signal.SIGTERM)
        assert end.program.wait(3) == 128 + signal.SIGTERM
        check_no_process(workers)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["term", "int"])
def test_a_signal_during_the_start_leaves_nothing_behind(folder: Path, number: signal.Signals) -> None:
    command = [*pog.POG, "server", "--listen", pog.ANY_PORT, "--workers", "2"]
    with Program(command, {"TMPDIR": str(folder)}) as program:
        eventually(lambda: check_has_files(folder))
        program.send_signal(number)
        assert program.wait() == 0, program.output()
        program.check_output()
    assert list(folder.iterdir()) == []


def check_has_files(folder: Path) -> None:
    assert list(folder.iterdir())


def test_workers_do_not_outlive_their_parent(folder: Path) -> None:
    end = pog.server({"TMPDIR": str(folder)}, "--workers", "2")
    with end.program:
        workers = check_children(end, 2)
        os.kill(end.pid, signal.SIGKILL)
        eventually(lambda: check_no_process(workers))
        end.program.wait()


def test_an_address_that_is_taken(four: pog.End) -> None:
    """Also by workers of the same user, whose sockets would share."""
    for count in ("1", "2"):
        program = Program([*pog.POG, "server", "--listen", four.host_port, "--workers", count])
        assert program.wait() == 1
        assert f"cannot listen on {four.host_port}" in program.output()
        program.check_output()


def test_every_address_of_both_families() -> None:
    end = pog.server({"SERVER_LISTEN": "", "PORT": str(unused_port())}, "--workers", "2")
    with end.program:
        for host in ("127.0.0.1", "::1"):
            assert get((host, end.address[1]), "/healthz")[0] == 200
        warnings = [line for line in end.program.output().splitlines() if "CLOSED: " in line]
        assert len(warnings) == 1


@LATE_DATA
def test_grpc_alone_and_credentials(origins: Origins) -> None:
    env = {"GRPC_AND_HTTP_MUX": "0", "POG_AUTH_A": item("a", "a")}
    end = pog.server(env, "--workers", "2")
    with end.program:
        for _ in range(4):
            with rpc.channel(end.host_port) as opened:
                assert rpc.health(opened, (("authorization", basic("a", "a")),))
                with pytest.raises(grpc.RpcError):
                    rpc.health(opened)


def test_workers_that_cannot_serve_end_it() -> None:
    """Not a loop of replacements: nothing has ever worked."""
    code = (
        "import pog.cli.workers, pog.server.serve, sys\n"
        "async def serve(*_, **__): raise RuntimeError('broken')\n"
        "pog.server.serve.serve = serve\n"
        "sys.argv = ['pog', 'server', '--listen', '127.0.0.1:0', '--workers', '2']\n"
        "from pog.cli.main import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 1
    assert "before it served" in done.stderr
