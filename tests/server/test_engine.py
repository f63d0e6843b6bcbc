"""The seam into Hypercorn: it is in place, and what it relies on has not moved."""

from __future__ import annotations

import asyncio
import inspect
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import hypercorn.asyncio.run
import hypercorn.protocol
import pytest
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.config import Config
from hypercorn.protocol import ProtocolWrapper
from hypercorn.protocol.h2 import H2Protocol
from hypercorn.protocol.h11 import H11Protocol

import pog.server
from pog.server.engine import EngineProtocol, h2_protocol, h11_protocol
from pog.server.http1 import Http1Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

# Nothing on loopback takes longer, whatever the load.
SECONDS = 10.0


def test_the_seam_is_in_place() -> None:
    assert vars(hypercorn.protocol)["H2Protocol"] is h2_protocol
    assert vars(hypercorn.protocol)["H11Protocol"] is h11_protocol


def test_hypercorn_still_listens_by_that_name() -> None:
    """Where a worker's end waits for connections that never say anything, on Python 3.12 and later."""
    source = inspect.getsource(hypercorn.asyncio.run)
    assert source.count("start_server(") == source.count("asyncio.start_server(") > 0
    assert source.count("wait_closed()") == source.count("server.wait_closed()") == 1


@pytest.mark.loops("asyncio", "uvloop")
async def test_the_end_of_a_worker_waits_for_no_connection() -> None:
    accepted: asyncio.Queue[asyncio.StreamWriter] = asyncio.Queue()
    worker = vars(hypercorn.asyncio.run)["asyncio"]
    with socket.create_server(("127.0.0.1", 0)) as sock, socket.create_connection(sock.getsockname()):
        listener = await worker.start_server(lambda _, writer: accepted.put_nowait(writer), sock=sock)
        connection = await accepted.get()
        listener.close()
        async with asyncio.timeout(SECONDS):
            await listener.wait_closed()
        connection.close()
        await connection.wait_closed()


def test_importing_the_app_puts_it_in_place() -> None:
    """As the `hypercorn` command does, in a process where nothing else was imported."""
    code = "import pog.server, hypercorn.protocol; print(hypercorn.protocol.H2Protocol.__module__)"
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert out.strip() == "pog.server.engine"


@pytest.mark.parametrize(
    ("method", "name"),
    [
        (ProtocolWrapper.__init__, "H2Protocol("),
        (ProtocolWrapper.handle, "H2Protocol("),
        (ProtocolWrapper.__init__, "H11Protocol("),
    ],
)
def test_hypercorn_still_makes_its_connections_by_these_names(method: Callable[..., object], name: str) -> None:
    assert name in inspect.getsource(method)


def test_hypercorn_still_hands_over_what_our_protocol_takes() -> None:
    for hypercorns, pogs in ((H2Protocol, EngineProtocol), (H11Protocol, Http1Protocol)):
        theirs = list(inspect.signature(hypercorns.__init__).parameters)
        ours = list(inspect.signature(pogs.__init__).parameters)
        assert ours[:3] == ["self", "app", "wrapper"]
        assert ours[3:] == theirs[2:]
    initiate = inspect.signature(H2Protocol.initiate).parameters
    assert list(initiate) == list(inspect.signature(EngineProtocol.initiate).parameters)


def test_hypercorn_still_has_what_the_takeover_touches() -> None:
    source = inspect.getsource(TCPServer)
    for name in ("self.reader", "self.writer", "self.idle_task", "self.protocol_send"):
        assert name in source
    assert Config().graceful_timeout > 0


def test_another_app_keeps_hypercorns_own_protocol() -> None:
    async def other(*_: object) -> None: ...

    for make, theirs in ((h2_protocol, H2Protocol), (h11_protocol, H11Protocol)):
        config = Config()
        made = make(ASGIWrapper(other), config, WorkerContext(None), *[None] * 6)
        assert type(made) is theirs
        assert config.graceful_timeout == Config().graceful_timeout


def test_the_app_is_where_the_command_line_looks() -> None:
    assert "app" in vars(pog.server)
