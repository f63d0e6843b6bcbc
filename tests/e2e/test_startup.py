"""How long a server takes from its start to its first answer, and what it must not import for that.

The figure is printed, not judged: the budget is three times what importing the libraries takes, and 100 ms (pytest -s).
"""

from __future__ import annotations

import socket
import statistics
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from tests.helpers import pog
from tests.helpers.origin import unused_port
from tests.helpers.process import START_SECONDS, Program

if TYPE_CHECKING:
    from tests.helpers.user import Address

ROUNDS = 5
LIBRARIES = "import hypercorn, grpclib.server, starlette.applications, prometheus_client"


def imports() -> float:
    """Seconds that a new interpreter takes to import the libraries that everybody has who serves this."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", LIBRARIES], check=True)
    return time.perf_counter() - began


def answers(address: Address) -> bool:
    try:
        with socket.create_connection(address, START_SECONDS) as sock:
            sock.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            return sock.recv(12) == b"HTTP/1.1 200"
    except OSError:
        return False


def first_answer(*args: str) -> float:
    """Seconds from exec to the first answer on /healthz."""
    address = ("127.0.0.1", unused_port())
    began = time.perf_counter()
    program = Program([*pog.POG, "server", "--listen", "{}:{}".format(*address), *args])
    with program:
        while not answers(address):
            assert time.perf_counter() - began < START_SECONDS, program.output()
            time.sleep(0.002)
        return time.perf_counter() - began


@pytest.mark.parametrize("args", [(), ("--workers", "4")], ids=["one process", "4 workers"])
def test_from_start_to_the_first_answer(args: tuple[str, ...]) -> None:
    """Side by side and in turn, so that a busy machine slows both."""
    rounds = [(imports(), first_answer(*args)) for _ in range(ROUNDS)]
    libraries, answer = (statistics.median(each) for each in zip(*rounds, strict=True))
    budget = 3 * libraries + 0.1
    print(
        f"start-up, pog server {' '.join(args)}: {answer * 1000:.0f} ms to the first answer; the libraries alone "
        f"{libraries * 1000:.0f} ms, the budget {budget * 1000:.0f} ms"
    )


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("pog.server.serve", "google.protobuf.json_format click pog.client pog.grpctest grpc pytest"),
        ("pog.client.app", "hypercorn starlette wsproto pog.server click pog.grpctest grpc pytest"),
        (
            "pog.cli.main",
            "asyncio h2 hypercorn starlette prometheus_client bcrypt google.protobuf ssl pog.server pog.client",
        ),
    ],
)
def test_what_is_not_imported(module: str, heavy: str) -> None:
    code = f"import sys, {module}; print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert set(heavy.split()).isdisjoint(found)
