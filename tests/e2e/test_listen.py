"""Where programs listen: every address of a wildcard and of a name, for both ends and for workers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.helpers import pog
from tests.helpers.origin import echo, unused_port
from tests.helpers.process import NAMES, Program
from tests.helpers.user import connect, get

if TYPE_CHECKING:
    from tests.helpers.origin import Origins

BOTH = ("127.0.0.1", "::1")
# a.both.test has the two addresses of BOTH.
LISTENS = pytest.mark.parametrize("listen", ["[::]:{}", "a.both.test:{}"])


@LISTENS
@pytest.mark.parametrize("args", [(), ("--workers", "2")], ids=["one process", "workers"])
def test_a_server(listen: str, args: tuple[str, ...]) -> None:
    port = unused_port()
    server = pog.server({"SERVER_LISTEN": listen.format(port), **NAMES}, *args)
    with server.program:
        for host in BOTH:
            assert get((host, port), "/healthz")[0] == 200
        shown = f"127.0.0.1:{port}, [::1]:{port}" if "both" in listen else f"[::]:{port}"
        assert f"pog server on {shown}" in server.program.stderr
        exposed = [line for line in server.program.stderr if "CLOSED: " in line]
        assert len(exposed) == ("both" not in listen)


@LISTENS
def test_a_client(listen: str, shared_server: pog.End, origins: Origins) -> None:
    port = unused_port()
    client = pog.client(shared_server.host_port, {"CLIENT_LISTEN": listen.format(port), **NAMES})
    with client.program:
        for host in BOTH:
            with connect((host, port), origins.start(echo).host_port) as tunnel:
                tunnel.send(b"abc")
                assert tunnel.receive(3) == b"abc"
        exposed = [line for line in client.program.stderr if "OPEN PROXY" in line]
        assert len(exposed) == ("both" not in listen)


@pytest.mark.parametrize("command", [["server", "--listen"], ["client", "--server-addr", "a:1", "--listen"]])
def test_a_name_without_an_address(command: list[str]) -> None:
    program = Program([*pog.POG, *command, "no-such-host.invalid:0"], {"RES_OPTIONS": "timeout:1 attempts:1"})
    assert program.wait() == 1
    assert program.stderr[-1].startswith("pog: cannot listen on no-such-host.invalid:0: ")
    program.check_output()
