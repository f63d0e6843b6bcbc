"""curl through an HTTPS proxy and through a Unix domain socket; a socket that systemd's own tool hands over."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.helpers import pog
from tests.helpers.items import item
from tests.helpers.origin import digest, source, unused_port
from tests.helpers.process import Program
from tests.system.conftest import PAGE, program

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.helpers.origin import Origin, Origins
    from tests.helpers.tls import Authority
    from tests.system.conftest import Tool

QUIET = ("--silent", "--show-error", "--fail", "--max-time", "20", "--noproxy", "")


@pytest.fixture(scope="module")
def https(shared_server: pog.End, authority: Authority) -> Iterator[str]:
    """An HTTPS proxy that asks for a password; its URL without one."""
    env = {
        "CLIENT_LISTEN": "127.0.0.1:0,https://127.0.0.1:0",
        "CLIENT_TLS_CERT": str(authority.cert_file),
        "CLIENT_TLS_KEY": str(authority.key_file),
        "CLIENT_AUTH_A": item("me", "pw"),
    }
    client = pog.client(shared_server.host_port, env)
    with client.program:
        yield f"https://localhost:{client.program.wait_line(r'^pog client on .*https://127.0.0.1:([0-9]+)')[1]}"


def test_an_https_proxy(
    run: Tool, https: str, authority: Authority, page: Origin, secure_page: Origin, origins: Origins
) -> None:
    args = (*QUIET, "--cacert", str(authority.ca_file), "--proxy-cacert", str(authority.ca_file), "-x", https)
    login = ("--proxy-user", "me:pw")
    assert run("curl", *args, *login, f"https://localhost:{secure_page.port}/").encode() == PAGE
    for how in ((), ("-p",)):
        assert run("curl", *args, *login, *how, f"http://localhost:{page.port}/").encode() == PAGE
    with pytest.raises(AssertionError, match="ended with (22|56)\n.*407"):
        run("curl", *args, f"https://localhost:{secure_page.port}/")
    size = 50_000_000
    large = (*login, "-p", "--http0.9", f"http://localhost:{origins.start(source(size)).port}/")
    assert run("bash", "-c", 'curl "$@" | sha256sum', "curl", *args, *large).split()[0] == digest(size)


def test_an_https_proxy_of_another_authority(run: Tool, https: str, page: Origin) -> None:
    with pytest.raises(AssertionError, match="ended with 60\n.*certificate"):
        run("curl", *QUIET, "-x", https, "-p", f"http://localhost:{page.port}/")


def test_socks_by_a_unix_socket(run: Tool, shared_server: pog.End, tmp_path: Path, page: Origin) -> None:
    path = tmp_path / "pog.sock"
    client = pog.client(shared_server.host_port, {"CLIENT_LISTEN": f"127.0.0.1:0,unix:{path}"})
    with client.program:
        url = f"http://localhost:{page.port}/"
        assert run("curl", *QUIET, "-x", f"socks5h://localhost{path}", url).encode() == PAGE


def test_a_socket_that_systemd_hands_over(run: Tool, shared_server: pog.End, page: Origin) -> None:
    """The program is started at the first connection."""
    tool, at = program("systemd-socket-activate"), f"127.0.0.1:{unused_port()}"
    variables = {"SERVER_ADDR": shared_server.host_port, "INSECURE": "1", "DRAIN_TIMEOUT": "1"}
    handed = [f"--setenv={name}={value}" for name, value in variables.items()]
    with Program([tool, "--listen", at, *handed, *pog.POG, "client"], {"PATH": os.environ["PATH"]}) as activated:
        activated.wait_line("Listening on")
        assert run("curl", *QUIET, "-p", "-x", f"http://{at}", f"http://localhost:{page.port}/").encode() == PAGE
        activated.wait_line(f"pog client on {at}$")
