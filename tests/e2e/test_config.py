"""The configuration of a client from outside: checked, shown, and read again while tunnels are open."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.helpers import pog
from tests.helpers.origin import echo
from tests.helpers.process import PORTABLE, ROOT, STOP_SECONDS, Program
from tests.helpers.user import connect
from tests.helpers.watch import eventually

if TYPE_CHECKING:
    from pathlib import Path

    from tests.helpers.origin import Origins

TEXT = """
max_tunnels = 500
[[exits]]
name = "west"
server = "127.0.0.1:1"
auth = "laptop:s3cret"
[[exits]]
name = "east"
server = "east.example:443"
auth_env = "EAST_AUTH"
on_dead = "close"
[[rules]]
hosts = ["*.corp.example", "10.0.0.0/8"]
ports = [443, "8000-8999"]
exits = ["direct"]
[[rules]]
exits = ["west"]
"""
ENV = {"EAST_AUTH": "me:s3cret", "KEEPALIVE": "7"}


def run(*args: str, env: dict[str, str] | None = None) -> tuple[int, str]:
    program = Program([*pog.POG, *args], ENV if env is None else env)
    status = program.wait()
    return status, "\n".join(program.stdout + program.stderr)


def test_check_says_what_is_wrong_and_what_is_probably_a_mistake(tmp_path: Path) -> None:
    path = tmp_path / "pog.toml"
    path.write_text(TEXT)
    status, text = run("config", "check", str(path))
    assert status == 0
    assert text.splitlines() == [
        f"warning: {path}: exit east is in no rule",
        f"{path}: ok; exits: west, east, direct; rules: 2",
    ]
    assert run("config", "check", str(path), env={}) == (
        2,
        f"pog: {path}: exits[1].auth_env: the variable EAST_AUTH is not set",
    )
    assert run("config", "check", env={"XDG_CONFIG_HOME": str(tmp_path)})[0] == 2
    assert run("config", "check", env={"SERVER_ADDR": "h:1"}) == (0, "no configuration file: ok; exits: h:1; rules: 0")


def test_show_gives_each_value_with_its_origin_and_no_secret(tmp_path: Path) -> None:
    path = tmp_path / "pog.toml"
    path.write_text(TEXT)
    env = ENV | {"CLIENT_POG_AUTH": "a:s3cret"}
    status, text = run("config", "show", "--config", str(path), "--exit-wait", "9", env=env)
    assert status == 0
    assert "s3cret" not in text
    lines = [re.sub(" +", " ", line.strip()) for line in text.splitlines()]
    for line in (
        "max_tunnels 500 file",
        "keepalive 7 KEEPALIVE",
        "exit_wait 9 --exit-wait",
        "fast_open 0 default",
        "CLIENT_POG_AUTH a:*** CLIENT_POG_AUTH",
        "west kind server; server 127.0.0.1:1; tls on; auth laptop:*** (file)",
        "east kind server; server east.example:443; tls on; auth me:*** (EAST_AUTH); on_dead close",
        "rules[0] hosts *.corp.example, 10.0.0.0/8; ports 443, 8000-8999; exits direct; pick first",
        "no rule hosts *; exits west, east; pick first",
    ):
        assert line in lines, text


@pytest.mark.parametrize("by", ["SIGHUP", "the file has changed"])
def test_rules_and_exits_are_read_again_and_open_tunnels_go_on(tmp_path: Path, origins: Origins, by: str) -> None:
    path = tmp_path / "pog.toml"
    one, other = pog.server(), pog.server()
    target = origins.start(echo).host_port

    def write(name: str, end: pog.End, rules: str = "") -> None:
        path.write_text(f'[[exits]]\nname = "{name}"\nserver = "{end.host_port}"\ninsecure = true\n{rules}')
        if by == "SIGHUP":
            client.program.send_signal(signal.SIGHUP)

    path.write_text(f'[[exits]]\nname = "one"\nserver = "{one.host_port}"\ninsecure = true\n')
    with one.program, other.program:
        client = pog.client("", {"POG_CONFIG": str(path), "INSECURE": ""})
        with client.program, connect(client.address, target, early=b"held") as held:
            assert held.receive(4) == b"held"
            write("nameless", one, '[[rules]]\nexits = ["nowhere"]\n')
            client.program.wait_line(rf"{by}: exits and rules stay as they were: .*rules\[0\]\.exits: there is no exit")
            with connect(client.address, target, early=b"ping") as tunnel:
                assert tunnel.receive(4) == b"ping"
                assert one.tunnels() == 2
            write("other", other, '[[rules]]\nports = [1]\nexits = ["reject"]\n')
            client.program.wait_line(rf"{by}: exits and rules from .*: other, reject; rules: 1")
            with connect(client.address, target, early=b"ping") as tunnel:
                assert tunnel.receive(4) == b"ping"
                assert other.tunnels() == 1
            with connect(client.address, "example.com:1") as refused:
                assert refused.status == 403
            if not PORTABLE:  # pog's own engine counts its connections: the client's and the one that asks
                assert one.metrics()["http2_connections"] == 2
            held.send(b"still there")
            assert held.receive(11) == b"still there"
            held.close()
            client.program.wait_line("exit one: gone from the configuration, and so is its last tunnel")
            if not PORTABLE:
                eventually(lambda: check_left(one))


def check_left(server: pog.End) -> None:
    """The connection that asks is the only one."""
    assert server.metrics()["http2_connections"] == 1, "the client's connection has ended"


def test_a_client_ends_with_the_window_of_its_terminal(tmp_path: Path) -> None:
    path = tmp_path / "pog.toml"
    path.write_text('[[rules]]\nexits = ["direct"]\n')
    ours, theirs = pty.openpty()
    command = [*pog.POG, "client", "--config", str(path), "--listen", pog.ANY_PORT]
    # The leader of a session gets the first terminal that it opens.
    shell = ["sh", "-c", 'exec "$@" <"$0" >"$0" 2>&1', os.ttyname(theirs), *command]
    env = {"PATH": os.environ["PATH"], "XDG_STATE_HOME": str(tmp_path)}
    process = subprocess.Popen(shell, cwd=ROOT, env=env, start_new_session=True)
    try:
        said = b""
        while b"pog client on" not in said:
            said += os.read(ours, 1024)
        # Not before: a terminal that nobody has open on that side cannot be read.
        os.close(theirs)
        os.close(ours)
        assert process.wait(STOP_SECONDS) == -signal.SIGHUP
    finally:
        process.kill()
        process.wait()
