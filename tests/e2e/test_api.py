"""The local interface on the client's port, as a program on this machine uses it."""

from __future__ import annotations

import http.client
import json
import os
import socket
import stat
from typing import TYPE_CHECKING, Any

import pytest

from tests.helpers import pog
from tests.helpers.items import item
from tests.helpers.origin import echo
from tests.helpers.user import SECONDS, basic, connect

if TYPE_CHECKING:
    from pathlib import Path

    from tests.helpers.origin import Origins


def ask(end: pog.End, path: str, method: str = "GET", token: str = "", host: str = "127.0.0.1") -> tuple[int, Any]:
    connection = http.client.HTTPConnection(*end.address, timeout=SECONDS)
    try:
        fields = {"Host": host} | ({"Authorization": f"Bearer {token}"} if token else {})
        connection.request(method, path, headers=fields)
        response = connection.getresponse()
        assert response.status == 421 or response.headers["content-type"] == "application/json"
        return response.status, None if response.status == 421 else json.load(response)
    finally:
        connection.close()


def token_of(state: Path) -> str:
    path = state / "token"
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    return path.read_text().strip()


RULES = """
[[exits]]
name = "good"
server = "{good}"
insecure = true
[[exits]]
name = "gone"
server = "127.0.0.1:1"
insecure = true
[[rules]]
hosts = ["*.corp.example", "10.0.0.0/8"]
exits = ["direct"]
[[rules]]
exits = ["gone", "good"]
"""


def test_tunnels_exits_rules_and_what_would_be_taken(tmp_path: Path, origins: Origins, shared_server: pog.End) -> None:
    path, state = tmp_path / "pog.toml", tmp_path / "state"
    path.write_text(RULES.format(good=shared_server.host_port))
    env = {"POG_CONFIG": str(path), "INSECURE": "", "POG_STATE_DIR": str(state)}
    origin = origins.start(echo)
    end = pog.client("", env)
    with end.program:
        end.program.wait_line("exit gone: cannot connect")
        tunnel = connect(end.address, origin.host_port, early=b"ping")
        assert tunnel.receive(4) == b"ping"
        status, (found,) = ask(end, "/api/tunnels")
        assert status == 200
        assert (found["destination"], found["exit"], found["rule"]) == (origin.host_port, "good", "rules[1]")
        assert (found["bytes_up"], found["bytes_down"], found["state"]) == (4, 4, "open")
        exits = {each["exit"]: each for each in ask(end, "/api/exits")[1]}
        assert exits.keys() == {"good", "gone", "direct"}
        assert (exits["good"]["state"], exits["good"]["tunnels_opened"]) == ("up", 1)
        assert exits["gone"]["state"].startswith("down: ")
        assert [each["name"] for each in ask(end, "/api/rules")[1]] == ["rules[0]", "rules[1]", "no rule"]
        explained = ask(end, "/api/explain?host=example.com")[1]
        assert explained["rule"]["name"] == "rules[1]"
        assert [each["exit"] for each in explained["exits"]] == ["good", "gone"]
        assert "in order; down: " in explained["exits"][1]["why"]
        by_address = ask(end, "/api/explain?host=192.0.2.1&front=socks5")[1]
        assert "rules[0], which names hosts, cannot match: let it use socks5h" in by_address["note"]
        assert "note" not in ask(end, "/api/explain?host=192.0.2.1")[1]
        assert "note" not in ask(end, "/api/explain?host=www.corp.example&front=socks5")[1]
        with socket.create_connection(end.address) as by_socks:
            by_socks.sendall(b"\x05\x01\x00" + b"\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x01")
            end.program.wait_line(r"127\.0\.0\.1:1 by socks5: the program resolves names itself, so rules\[0\]")
        assert ask(end, "/api/explain?host=a%20b")[0] == 400
        assert ask(end, "/api/explain")[0] == 400
        assert ask(end, "/api/nothing")[0] == 404
        assert ask(end, "/api/tunnels", host="evil.example")[0] == 421

        one = f"/api/tunnels/{found['id']}"
        assert ask(end, one, "DELETE")[0] == 401
        assert ask(end, one, "DELETE", "x" * 43)[0] == 401
        assert ask(end, one, "GET", token_of(state))[0] == 405
        assert ask(end, "/api/tunnels/999", "DELETE", token_of(state))[0] == 404
        assert ask(end, one, "DELETE", token_of(state))[0] == 200
        with pytest.raises(ConnectionResetError):
            tunnel.receive(1)
        tunnel.close()
        end.program.wait_line("pog ended: .* stopped by pog")
    before = token_of(state)
    again = pog.client("", env)
    with again.program:
        assert ask(again, "/api/tunnels/1", "DELETE", before)[0] == 404, "the token has stayed"


def test_where_users_have_credentials_the_token_is_needed_to_read(tmp_path: Path, shared_server: pog.End) -> None:
    state = tmp_path / "state"
    end = pog.client(shared_server.host_port, {"CLIENT_AUTH_A": item("a", "a"), "POG_STATE_DIR": str(state)})
    with end.program:
        assert ask(end, "/api/tunnels") == (401, {"error": "the token is needed to read this from here"})
        assert ask(end, "/api/tunnels", token=token_of(state)) == (200, [])
        explained = ask(end, "/api/explain?host=h", token=token_of(state))[1]
        assert explained["exits"] == [{"exit": shared_server.host_port, "state": "up", "why": "the only one"}]
        with connect(end.address, "127.0.0.1:1", {"Proxy-Authorization": basic("a", "a")}) as refused:
            assert refused.status == 502


def test_where_others_reach_the_port_the_token_is_needed_to_read(tmp_path: Path, shared_server: pog.End) -> None:
    """One of them could come from this machine, by a tunnel through `direct`."""
    end = pog.client(shared_server.host_port, {"CLIENT_LISTEN": ":0", "POG_STATE_DIR": str(tmp_path)})
    with end.program:
        assert ask(end, "/api/tunnels")[0] == 401
        assert ask(end, "/api/tunnels", token=token_of(tmp_path)) == (200, [])


def test_where_nothing_can_be_written_one_line_says_so(tmp_path: Path, shared_server: pog.End) -> None:
    (tmp_path / "file").write_text("")
    end = pog.client(shared_server.host_port, {"STATE_DIRECTORY": str(tmp_path / "file")})
    with end.program:
        end.program.wait_line(r"no state is kept: .*/file")
        assert ask(end, "/api/tunnels") == (200, [])
        assert ask(end, "/api/tunnels/1", "DELETE", "x" * 43)[0] == 401
