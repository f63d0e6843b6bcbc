"""pog's own programs under test, on ports of the kernel's choice."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.helpers import h2c
from tests.helpers.process import PORTABLE, ROOT, Program
from tests.helpers.user import Address, get, samples

if TYPE_CHECKING:
    import re
    import socket

POG = (sys.executable, "-m", "pog")
HYPERCORN = str(Path(sys.executable).parent / "hypercorn")
ANY_PORT = "127.0.0.1:0"
LOOPBACK = "127.0.0.0/8,::1/128"
_SERVER_ENV = {"EGRESS_ALLOW": LOOPBACK, "STACKS": "1", "DRAIN_TIMEOUT": "1"}
if PORTABLE:
    _SERVER_ENV["POG_ENGINE"] = "portable"
engine_only = pytest.mark.skipif(PORTABLE, reason="a fault of Hypercorn's own HTTP/2, which pog's engine mends")
GAUGE = "tunnelling_connections_total"

_ADDRESS = r" (?:https?://)?(127\.0\.0\.1|\[::\])?:(\d+)\b"
_SERVER_LINE = rf"(?:^(?:.*:\")?(?:pog )?server on|Running on){_ADDRESS}"
_CLIENT_LINE = rf"^(?:.*:\")?(?:pog client on|proxy){_ADDRESS}"
# Becomes a program with the descriptor in its first argument as 3, where systemd hands over sockets.
_HANDING_OVER = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(sys.argv[2], sys.argv[2:])
"""


def _address(found: re.Match[str]) -> Address:
    """A program that listens on every address is asked on one."""
    return "127.0.0.1", int(found[2])


@dataclass(frozen=True, slots=True)
class End:
    """One running end, server or client, and where it listens."""

    program: Program
    address: Address
    is_server: bool = False

    @property
    def host_port(self) -> str:
        return "{}:{}".format(*self.address)

    @property
    def pid(self) -> int:
        return self.program.pid

    def metrics(self, accept: str = "*/*") -> dict[str, float]:
        """The server is asked over HTTP/2: Hypercorn keeps a connection of HTTP/1.1 for 5 s after its end."""
        status, text = (h2c.get if self.is_server else get)(self.address, "/metrics", {"accept": accept})
        assert status == 200, text
        return samples(text)

    def tunnels(self) -> int:
        """The gauge of open tunnels."""
        return int(self.metrics()[GAUGE])


def server(env: dict[str, str] | None = None, *args: str) -> End:
    """`pog server` on a free port; unless `env` differs, it may dial loopback and serves its stacks."""
    return _started([*POG, "server", *args], {"SERVER_LISTEN": ANY_PORT} | _SERVER_ENV | (env or {}), _SERVER_LINE)


def hypercorn(env: dict[str, str] | None = None, *args: str, cwd: Path = ROOT) -> End:
    """`hypercorn pog.server:app` on a free port."""
    command = [HYPERCORN, "pog.server:app", "--bind", ANY_PORT, *args]
    return _started(command, _SERVER_ENV | (env or {}), _SERVER_LINE, cwd)


def client(server_addr: str, env: dict[str, str] | None = None, *args: str, cwd: Path = ROOT) -> End:
    """`pog client` of the server at `server_addr`, in plain text, on a free port, unless `env` differs."""
    defaults = {"SERVER_ADDR": server_addr, "INSECURE": "1", "CLIENT_LISTEN": ANY_PORT, "DRAIN_TIMEOUT": "1"}
    return _started([*POG, "client", *args], defaults | (env or {}), _CLIENT_LINE, cwd)


def client_on(sock: socket.socket, server_addr: str, env: dict[str, str] | None = None) -> Program:
    """`pog client` on a listening socket that is handed over as by systemd; it says so with one address or path."""
    defaults = {"SERVER_ADDR": server_addr, "INSECURE": "1", "DRAIN_TIMEOUT": "1", "LISTEN_FDS": "1"}
    handing_over = [sys.executable, "-c", _HANDING_OVER, str(sock.fileno())]
    program = Program([*handing_over, *POG, "client"], defaults | (env or {}), [sock.fileno()])
    program.wait_line("^pog client on ")
    return program


def up(env: dict[str, str] | None = None, *args: str) -> tuple[End, End]:
    """`pog up`: the server and the client, in one process."""
    client_end = _started([*POG, "up", *args], {"CLIENT_LISTEN": ANY_PORT} | _SERVER_ENV | (env or {}), _CLIENT_LINE)
    return End(client_end.program, _address(client_end.program.wait_line(_SERVER_LINE)), is_server=True), client_end


def _started(command: list[str], env: dict[str, str], line: str, cwd: Path = ROOT) -> End:
    program = Program(command, env, cwd=cwd)
    try:
        return End(program, _address(program.wait_line(line)), is_server=line == _SERVER_LINE)
    except BaseException:
        program.kill()
        raise
