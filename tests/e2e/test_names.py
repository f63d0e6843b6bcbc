"""Names that are never answered, in real processes: each costs only itself, and the end does not wait for them."""

from __future__ import annotations

import signal
import socket
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.helpers import pog
from tests.helpers.origin import echo, unused_port
from tests.helpers.process import NAMES, Program
from tests.helpers.user import connect, connect_head
from tests.helpers.watch import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.helpers.origin import Origin, Origins
    from tests.helpers.user import Address

HANGING = 200
PATIENT = {"DIAL_TIMEOUT": "60", **NAMES}
# What comes after DRAIN_TIMEOUT: the last trailers (TRAILERS_TIMEOUT), the interpreter's end, and a busy machine.
GRACE = 4.0


@pytest.fixture
def origin(origins: Origins) -> Origin:
    return origins.start(echo)


def ask(stack: ExitStack, proxy: Address, target: str) -> socket.socket:
    """Asks for a tunnel and does not wait for the answer."""
    sock = stack.enter_context(socket.create_connection(proxy, 15))
    sock.sendall(connect_head(target))
    return sock


def hang(stack: ExitStack, server: pog.End, client: pog.End, count: int) -> list[socket.socket]:
    """Tunnels whose names the server looks up now, and for ever."""
    users = [ask(stack, client.address, f"n{number}.hangs.test:443") for number in range(count)]
    eventually(lambda: check_opening(server, count), 20)
    return users


def check_opening(server: pog.End, count: int) -> None:
    assert server.metrics()['tunnels{state="opening"}'] == count


def opens(client: pog.End, target: str) -> float:
    """Seconds that a tunnel takes to carry bytes both ways."""
    began = time.perf_counter()
    with connect(client.address, target) as tunnel:
        assert tunnel.status == 200, tunnel.head
        tunnel.send(b"abc")
        assert tunnel.receive(3) == b"abc"
        return time.perf_counter() - began


@pytest.fixture
def pair() -> Iterator[tuple[pog.End, pog.End]]:
    server = pog.server(PATIENT)
    with server.program:
        client = pog.client(server.host_port)
        with client.program:
            yield server, client


def test_tunnels_to_names_that_hang_do_not_delay_a_good_one(pair: tuple[pog.End, pog.End], origin: Origin) -> None:
    """The figures are printed, not judged (pytest -s): that the good one opens while all others wait is the test."""
    server, client = pair
    alone = [opens(client, f"a{number}.good.test:{origin.port}") for number in range(5)]
    with ExitStack() as stack:
        hang(stack, server, client, HANGING)
        beside = [opens(client, f"b{number}.good.test:{origin.port}") for number in range(5)]
        check_opening(server, HANGING)
    print(f"a good name: {max(alone) * 1000:.1f} ms alone, {max(beside) * 1000:.1f} ms beside {HANGING} that hang")


def test_a_name_that_hangs_costs_its_own_tunnel_the_dials_time_limit(origin: Origin) -> None:
    server = pog.server({"DIAL_TIMEOUT": "0.5", **NAMES})
    with server.program:
        client = pog.client(server.host_port)
        with client.program:
            for _ in range(2):  # the second one's lookup is the first one's
                with connect(client.address, "a.hangs.test:443") as answer:
                    assert answer.status == 504
                    assert "error=connection_timeout" in answer.fields["proxy-status"]
            opens(client, f"a.good.test:{origin.port}")


@pog.engine_only
@pytest.mark.parametrize(
    ("args", "number"), [((), signal.SIGTERM), (("--workers", "2"), signal.SIGINT)], ids=["one process", "workers"]
)
def test_a_server_ends_within_its_drain_although_names_hang(args: tuple[str, ...], number: signal.Signals) -> None:
    server = pog.server({**PATIENT, "DRAIN_TIMEOUT": "1"}, *args)
    with server.program, ExitStack() as stack:
        client = pog.client(server.host_port, {"EXIT_WAIT": "0.1"})
        stack.enter_context(client.program)
        users = hang(stack, server, client, 20)
        began = time.monotonic()
        server.program.send_signal(number)
        assert server.program.wait() == 0, server.program.output()
        assert time.monotonic() - began < 1 + GRACE
        server.program.check_output()
        for user in users:
            assert user.recv(1 << 16).startswith(b"HTTP/1.1 503 ")


def test_a_second_signal_ends_a_server_now_although_names_hang() -> None:
    server = pog.server({**PATIENT, "DRAIN_TIMEOUT": "60"})
    with server.program, ExitStack() as stack:
        client = pog.client(server.host_port)
        stack.enter_context(client.program)
        hang(stack, server, client, 4)
        server.program.send_signal(signal.SIGTERM)
        server.program.wait_line("SIGTERM: ending")
        server.program.send_signal(signal.SIGTERM)
        assert server.program.wait(3) == 128 + signal.SIGTERM


def test_a_client_whose_server_has_a_name_that_hangs() -> None:
    """It says so to its users, and ends at once: no tunnel is open."""
    client = pog.client("pog.hangs.test:443", {"CONNECT_TIMEOUT": "0.2", "EXIT_WAIT": "0.5", **NAMES})
    with client.program:
        with connect(client.address, "a.good.test:80") as answer:
            assert answer.status == 503
            assert "no connection within 0.2 s" in answer.fields["x-proxy-over-grpc-error"]
        client.program.send_signal(signal.SIGTERM)
        assert client.program.wait(GRACE) == 0, client.program.output()
        client.program.check_output()


@pytest.mark.parametrize("command", ["health", "stacks"])
def test_a_single_question_ends_at_its_limit(command: str) -> None:
    program = Program([*pog.POG, command, "pog.hangs.test:443", "--limit", "0.3"], NAMES)
    assert program.wait(GRACE + 5) == 1
    assert "no answer from pog.hangs.test:443 within 0.3 s" in program.output()


def test_a_name_with_two_addresses_of_which_one_answers(pair: tuple[pog.End, pog.End], origin: Origin) -> None:
    client = pair[1]
    opens(client, f"a.both.test:{origin.port}")
    with connect(client.address, f"a.both.test:{unused_port()}") as answer:
        assert answer.status == 502
        assert "error=connection_refused" in answer.fields["proxy-status"]
        assert answer.fields["x-proxy-over-grpc-error"].endswith("refused the connection: Connection refused")
