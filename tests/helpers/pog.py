"""pog's own programs under test, on ports of the kernel's choice."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.helpers.process import Program
from tests.helpers.user import Address, get, samples
from tests.helpers.watch import descriptors, resident, threads

if TYPE_CHECKING:
    import re

POG = (sys.executable, "-m", "pog")
HYPERCORN = str(Path(sys.executable).parent / "hypercorn")
ANY_PORT = "127.0.0.1:0"
LOOPBACK = "127.0.0.0/8,::1/128"
GAUGE = "tunnelling_connections_total"

_SERVER_LINE = r"(?i)(?:running on|server\b.*\bon) (?:https?://)?(127\.0\.0\.1|\[::1?\]):(\d+)"
_CLIENT_LINE = r"(?i)(?:proxy\b|client\b.*\bon) (?:https?://)?(127\.0\.0\.1|\[::1?\]):(\d+)"


def _address(found: re.Match[str]) -> Address:
    return found[1].strip("[]"), int(found[2])


@dataclass(frozen=True, slots=True)
class End:
    """One running end, server or client, and where it listens."""

    program: Program
    address: Address

    @property
    def host_port(self) -> str:
        return "{}:{}".format(*self.address)

    @property
    def pid(self) -> int:
        return self.program.pid

    def metrics(self) -> dict[str, float]:
        status, text = get(self.address, "/metrics")
        assert status == 200, text
        return samples(text)

    def tunnels(self) -> int:
        """The gauge of open tunnels."""
        return int(self.metrics()[GAUGE])


@dataclass(frozen=True, slots=True)
class Footprint:
    """What one process holds: the same before and after, when nothing was left behind."""

    descriptors: list[str]
    threads: int
    resident: int

    @classmethod
    def of(cls, pid: int) -> Footprint:
        return cls(descriptors(pid), threads(pid), resident(pid))


def server(env: dict[str, str] | None = None, *args: str) -> End:
    """`pog server` on a free port; unless `env` differs, it may dial loopback and serves its stacks."""
    defaults = {"SERVER_LISTEN": ANY_PORT, "EGRESS_ALLOW": LOOPBACK, "STACKS": "1", "DRAIN_TIMEOUT": "1"}
    return _started([*POG, "server", *args], defaults | (env or {}), _SERVER_LINE)


def hypercorn(env: dict[str, str] | None = None, *args: str) -> End:
    """`hypercorn pog.server:app` on a free port."""
    command = [HYPERCORN, "pog.server:app", "--bind", ANY_PORT, *args]
    return _started(command, {"EGRESS_ALLOW": LOOPBACK, "STACKS": "1"} | (env or {}), _SERVER_LINE)


def client(server_addr: str, env: dict[str, str] | None = None, *args: str) -> End:
    """`pog client` of the server at `server_addr`, in plain text, on a free port, unless `env` differs."""
    defaults = {"SERVER_ADDR": server_addr, "INSECURE": "1", "CLIENT_LISTEN": ANY_PORT, "DRAIN_TIMEOUT": "1"}
    return _started([*POG, "client", *args], defaults | (env or {}), _CLIENT_LINE)


def up(env: dict[str, str] | None = None, *args: str) -> tuple[End, End]:
    """`pog up`: the server and the client, in one process."""
    defaults = {"SERVER_LISTEN": ANY_PORT, "CLIENT_LISTEN": ANY_PORT, "EGRESS_ALLOW": LOOPBACK, "STACKS": "1"}
    client_end = _started([*POG, "up", *args], defaults | {"DRAIN_TIMEOUT": "1"} | (env or {}), _CLIENT_LINE)
    return End(client_end.program, _address(client_end.program.wait_line(_SERVER_LINE))), client_end


def _started(command: list[str], env: dict[str, str], line: str) -> End:
    program = Program(command, env)
    try:
        return End(program, _address(program.wait_line(line)))
    except BaseException:
        program.kill()
        raise
