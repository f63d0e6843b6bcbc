"""`pog check` from outside: sites through each exit, and which exit a host would take."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
from grpclib.const import Status

from tests.helpers import pog
from tests.helpers.items import item
from tests.helpers.origin import answer
from tests.helpers.original import Original, failing, serving
from tests.helpers.process import Program

if TYPE_CHECKING:
    from pathlib import Path

    from tests.helpers.origin import Origins
    from tests.helpers.tls import Authority


def run(*args: str, **env: str) -> tuple[int, str]:
    program = Program([*pog.POG, "check", *args], {"CLIENT_LISTEN": "127.0.0.1:1", **env})
    status = program.wait(30)
    program.check_output()
    return status, "\n".join(program.stdout + program.stderr)


def exits(**servers: object) -> str:
    return "\n".join(f'[[exits]]\nname = "{name}"\nserver = "{at}"\ninsecure = true' for name, at in servers.items())


RULES = """
[[rules]]
hosts = ["*.corp.example"]
exits = ["direct"]
[[rules]]
exits = ["gone", "good"]
"""


def test_each_site_through_each_exit(
    tmp_path: Path, origins: Origins, authority: Authority, shared_server: pog.End
) -> None:
    path = tmp_path / "pog.toml"
    secure = origins.start(answer(b"192.0.2.7\n"), tls=authority.server_context())
    plain = origins.start(answer(b"x" * 100_000))
    urls = (f"https://127.0.0.1:{secure.port}/ip", f"http://127.0.0.1:{plain.port}/")
    with serving(Original()) as original, serving(failing(Status.UNAVAILABLE, "closed")) as closed:
        servers = {"good": shared_server.host_port, "original": original.address, "closed": closed.address}
        path.write_text(exits(**servers, gone="127.0.0.1:1") + '\n[[rules]]\nexits = ["direct"]\n')
        env = {"POG_CONFIG": str(path), "SSL_CERT_FILE": str(authority.ca_file)}
        status, text = run("--json", *urls, **env)
        found = {(each["target"], each["exit"]): each for each in json.loads(text)}
        assert status == 0
        assert list(found) == [(url, name) for url in urls for name in (*servers, "gone", "direct")]
        for url in urls:
            for name in ("good", "original", "direct"):
                each = found[url, name]
                assert (each["reachable"], each["status"], each["error"]) == (True, 200, ""), each
                assert each["open_ms"] >= 0 and each["first_byte_ms"] >= 0
                assert (each["tls_ms"] is None) is url.startswith("http:")
                assert each["address"] == ("192.0.2.7" if url.startswith("https:") else "")
            assert "UNAVAILABLE: closed" in found[url, "closed"]["error"]
            assert "Connection refused" in found[url, "gone"]["error"]
        status, text = run("--exit", "closed", "--exit", "good", urls[0], **env)
        lines = [re.sub("  +", "  ", line) for line in text.splitlines()]
        assert status == 0
        assert lines[0] == "TARGET  EXIT  STATUS  OPEN  TLS  FIRST BYTE"
        assert lines[1].startswith(f"{urls[0]}  closed  -  -  -  -  ") and lines[1].endswith("UNAVAILABLE: closed")
        assert re.fullmatch(r"  good  200  \d+ ms  \d+ ms  \d+ ms  seen as 192\.0\.2\.7", lines[2])
        assert run("--exit", "closed", urls[0], **env)[0] == 1
        status, text = run("--exit", "good", urls[0], POG_CONFIG=str(path))
        assert status == 1 and "certificate" in text, "an authority that nobody trusts"
        assert run("--exit", "east", urls[0], **env) == (
            2,
            "pog: --exit: there is no exit 'east', only good, original, closed, gone, direct",
        )


def test_the_running_client_explains_and_without_one_the_file_does(tmp_path: Path, shared_server: pog.End) -> None:
    path = tmp_path / "pog.toml"
    path.write_text(exits(good=shared_server.host_port, gone="127.0.0.1:1") + RULES)
    env = {"POG_CONFIG": str(path), "POG_STATE_DIR": str(tmp_path / "state")}
    status, text = run("--explain", "www.corp.example", **env)
    assert status == 0
    assert text.splitlines()[0] == (
        "www.corp.example:443 by http: rules[0] (hosts *.corp.example; exits direct; pick first)"
    )
    assert text.splitlines()[1].split() == ["1", "direct", "not", "known", "in", "order"]
    assert text.splitlines()[-1] == f"(from {path}; no client runs here, so nothing is known of the exits)"
    _, text = run("--explain", "192.0.2.1:80", "--front", "socks5", **env)
    assert (
        "note: the program resolves names itself, so rules[0], which names hosts, cannot match: let it use socks5h"
        in text
    )
    end = pog.client("", {**env, "INSECURE": "", "CLIENT_AUTH_A": item("a", "a")})
    with end.program:
        end.program.wait_line("exit gone: cannot connect")
        status, text = run("--explain", "example.com", "--client", end.host_port, **env)
        assert status == 0
        lines = text.splitlines()
        assert lines[0].startswith("example.com:443 by http: rules[1] (")
        assert lines[1].split()[:3] == ["1", "good", "up"]
        assert lines[2].split()[:3] == ["2", "gone", "down:"]
        assert lines[3] == f"(from the client at {end.host_port})"
        found = json.loads(
            run(
                "--json",
                "--explain",
                "example.com",
                CLIENT_LISTEN=end.host_port,
                **{name: value for name, value in env.items() if name != "CLIENT_LISTEN"},
            )[1]
        )
        assert [each["exit"] for each in found["exits"]] == ["good", "gone"]
        status, text = run("--explain", "h", "--client", end.host_port, POG_STATE_DIR=str(tmp_path / "none"))
        assert (status, "the token is needed" in text) == (1, True)
    status, text = run("--explain", "h", "--client", "127.0.0.1:1", **env)
    assert (status, "Connection refused" in text) == (1, True)


@pytest.mark.parametrize("args", [(), ("ftp://h/",), ("--explain", "a b"), ("--explain", "h", "http://h/")])
def test_what_cannot_be_checked(args: tuple[str, ...]) -> None:
    status, text = run(*args, SERVER_ADDR="h:1")
    assert status == 2, text
    assert "Traceback" not in text
