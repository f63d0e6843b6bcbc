"""Whom a server without auth items lets in, and what it says about that."""

from __future__ import annotations

import logging
import socket
from typing import TYPE_CHECKING

import pytest

from pog.config.auth_items import parse_item
from pog.config.server_settings import ServerSettings
from pog.net.address import Address, UnixPath
from pog.server.openness import Listening, warn_of_openness
from tests.helpers.items import item

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LOCAL, EVERYWHERE = Address("127.0.0.1", 8080), Address("", 8080)
ITEMS = (parse_item(item("a", "a")),)


def test_what_listens_nowhere_lets_nobody_in() -> None:
    assert not Listening().only_loopback


@pytest.mark.parametrize(("host", "family"), [("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6)])
def test_loopback(host: str, family: socket.AddressFamily) -> None:
    listening = Listening()
    with socket.create_server((host, 0), family=family) as sock:
        assert listening.add(sock) == Address(host, sock.getsockname()[1])
    assert listening.only_loopback


def test_one_socket_that_is_not_on_loopback_closes_all_and_its_end_opens_none() -> None:
    listening = Listening()
    with socket.create_server(("127.0.0.1", 0)) as local, socket.create_server(("0.0.0.0", 0)) as exposed:
        listening.add(local)
        assert listening.only_loopback
        place = listening.add(exposed)
        assert not listening.only_loopback
        listening.remove(place)
        assert not listening.only_loopback


def test_behind_a_unix_domain_socket_there_is_a_proxy(tmp_path: Path) -> None:
    listening = Listening()
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(path)
        assert listening.add(sock) == UnixPath(path)
    assert not listening.only_loopback


def said(caplog: pytest.LogCaptureFixture, settings: ServerSettings, *places: Address | UnixPath) -> str:
    caplog.clear()
    warn_of_openness(settings, places)
    assert all(record.levelno == logging.WARNING for record in caplog.records)
    return caplog.text


def test_what_is_said_at_the_start(caplog: pytest.LogCaptureFixture) -> None:
    open_proxy = ServerSettings(open_proxy=True)
    assert "if a proxy in front of this port faces the network, set POG_AUTH_*" in said(caplog, ServerSettings(), LOCAL)
    closed = said(caplog, ServerSettings(), LOCAL, EVERYWHERE)
    assert "CLOSED: no POG_AUTH_* is set and :8080 is not loopback" in closed
    assert "POG_OPEN=1" in closed
    assert "unix:/run/pog is not loopback" in said(caplog, ServerSettings(), UnixPath("/run/pog"))
    for place in (LOCAL, EVERYWHERE):
        assert f"OPEN PROXY on {place}: POG_OPEN=1" in said(caplog, open_proxy, place)
        assert said(caplog, ServerSettings(auth=ITEMS), place) == ""
        assert "POG_OPEN=1 has no effect" in said(caplog, ServerSettings(auth=ITEMS, open_proxy=True), place)


@pytest.fixture
def quiet() -> Iterator[None]:
    """As LOG_LEVEL sets it."""
    logger = logging.getLogger("pog")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    yield
    logger.setLevel(before)


def test_an_open_proxy_says_so_at_every_log_level(quiet: None, caplog: pytest.LogCaptureFixture) -> None:
    assert said(caplog, ServerSettings(), EVERYWHERE) == ""
    assert "OPEN PROXY" in said(caplog, ServerSettings(open_proxy=True), EVERYWHERE)
    assert caplog.records[0].filename == "openness.py"
