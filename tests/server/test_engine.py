"""The seam into Hypercorn: it is in place, and what it relies on has not moved."""

from __future__ import annotations

import inspect
import subprocess
import sys
from typing import TYPE_CHECKING

import hypercorn.protocol
import pytest
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.config import Config
from hypercorn.protocol import ProtocolWrapper
from hypercorn.protocol.h2 import H2Protocol

import pog.server
from pog.server.engine import EngineProtocol, h2_protocol

if TYPE_CHECKING:
    from collections.abc import Callable


def test_the_seam_is_in_place() -> None:
    assert vars(hypercorn.protocol)["H2Protocol"] is h2_protocol


def test_importing_the_app_puts_it_in_place() -> None:
    """As the `hypercorn` command does, in a process where nothing else was imported."""
    code = "import pog.server, hypercorn.protocol; print(hypercorn.protocol.H2Protocol.__module__)"
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert out.strip() == "pog.server.engine"


@pytest.mark.parametrize("method", [ProtocolWrapper.__init__, ProtocolWrapper.handle])
def test_hypercorn_still_makes_its_connections_by_that_name(method: Callable[..., object]) -> None:
    assert "H2Protocol(" in inspect.getsource(method)


def test_hypercorn_still_hands_over_what_our_protocol_takes() -> None:
    theirs = list(inspect.signature(H2Protocol.__init__).parameters)
    ours = list(inspect.signature(EngineProtocol.__init__).parameters)
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

    arguments = [Config(), *[None] * 7]
    arguments[1] = type("Context", (), {"event_class": object})()
    assert type(h2_protocol(ASGIWrapper(other), *arguments)) is H2Protocol


def test_the_app_is_where_the_command_line_looks() -> None:
    assert "app" in vars(pog.server)
