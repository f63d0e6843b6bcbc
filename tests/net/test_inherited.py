"""Sockets handed over as by systemd; tests/e2e/test_listeners.py starts a client with some."""

from __future__ import annotations

import os
import socket

import pytest

from pog.errors import SettingsError
from pog.net.inherited import inherited_sockets


def environ(fds: object = 1, pid: int = 7, names: str = "") -> dict[str, str]:
    return {"LISTEN_FDS": str(fds), "LISTEN_PID": str(pid), "LISTEN_FDNAMES": names}


@pytest.mark.parametrize(("names", "name"), [("", ""), ("https", "https"), ("a:b", "a")])
def test_a_listening_socket_is_taken_over(names: str, name: str) -> None:
    ours = socket.create_server(("127.0.0.1", 0))
    address, first = ours.getsockname(), ours.detach()
    os.set_inheritable(first, True)
    (got,) = inherited_sockets(environ(names=names), 7, first)
    with got.socket as sock:
        assert (sock.getsockname(), got.name, sock.getblocking(), sock.get_inheritable()) == (
            address,
            name,
            False,
            False,
        )


@pytest.mark.parametrize("others", [environ(pid=8), environ(0), {}, {"LISTEN_FDS": "1"}, {"LISTEN_PID": "7"}])
def test_what_is_for_another_process_is_left_alone(others: dict[str, str]) -> None:
    assert inherited_sockets(others, 7, 0) == []


@pytest.mark.parametrize("count", ["-1", "x", "1.0", "٣", "99999"])
def test_a_number_is_a_number(count: str) -> None:
    with pytest.raises(SettingsError, match="LISTEN_FDS: must be a number"):
        inherited_sockets(environ(count), 7)


def test_what_does_not_listen_is_refused_and_stays_open() -> None:
    with socket.socket() as idle, socket.socket(type=socket.SOCK_DGRAM) as datagrams, open(os.devnull) as file:
        for each in (idle, datagrams, file):
            with pytest.raises(SettingsError, match=f"LISTEN_FDS: descriptor {each.fileno()} must be a"):
                inherited_sockets(environ(), 7, each.fileno())
            os.fstat(each.fileno())


def test_a_descriptor_that_is_not_open_is_named() -> None:
    closed = os.open(os.devnull, os.O_RDONLY)
    os.close(closed)
    with pytest.raises(SettingsError, match=f"descriptor {closed}: Bad file"):
        inherited_sockets(environ(), 7, closed)
