"""The client reaches its server through another proxy, which is a pog client that dials directly."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.helpers import pog
from tests.helpers.items import item
from tests.helpers.origin import digest, echo, source, unused_port
from tests.helpers.process import NAMES, Program
from tests.helpers.user import connect

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.helpers.origin import Origins
    from tests.helpers.tls import Authority

SECRET = "canary"
LOGIN = f"m%C3%A9:{SECRET}@"
SIZE = 3_000_000
# A server that is not on this machine, as far as the client can see; the proxy knows where it is.
NAME = "pog.good.test"


@pytest.fixture(scope="module")
def proxy() -> Iterator[pog.End]:
    """A proxy that wants a login, by CONNECT and SOCKS 5."""
    end = pog.client("direct:", {"INSECURE": "", "CLIENT_AUTH_ME": item("mé", SECRET), **NAMES})
    with end.program:
        yield end


@pytest.fixture(scope="module")
def open_proxy() -> Iterator[pog.End]:
    end = pog.client("direct:", {"INSECURE": "", **NAMES})
    with end.program:
        yield end


def check(client: pog.End, proxy: pog.End, server: str, origins: Origins) -> None:
    """A tunnel works, and the proxy has seen a connection to the server."""
    origin = origins.start(source(SIZE))
    with connect(client.address, origin.host_port) as tunnel:
        assert tunnel.status == 200, tunnel.head
        assert tunnel.receive_digest() == (SIZE, digest(SIZE))
    proxy.program.wait_line(f"^pog: {server} ")
    assert SECRET not in said(client)


def said(client: pog.End) -> str:
    return "\n".join(client.program.stdout + client.program.stderr)


@pytest.mark.parametrize("scheme", ["http", "socks5", "socks5h"])
def test_by_connect_and_by_socks(scheme: str, proxy: pog.End, shared_server: pog.End, origins: Origins) -> None:
    client = pog.client(shared_server.host_port, None, "--via", f"{scheme}://{LOGIN}{proxy.host_port}")
    with client.program:
        check(client, proxy, shared_server.host_port, origins)


@pytest.mark.parametrize("scheme", ["http", "socks5"])
def test_tls_goes_through_the_proxy(scheme: str, open_proxy: pog.End, origins: Origins, authority: Authority) -> None:
    """The certificate is looked at here, under the server's name, which the proxy resolves."""
    server = pog.hypercorn(None, "--certfile", str(authority.cert_file), "--keyfile", str(authority.key_file))
    with server.program:
        at = f"{NAME}:{server.address[1]}"
        env = {
            "INSECURE": "",
            "SSL_CERT_FILE": str(authority.ca_file),
            "SERVER_VIA": f"{scheme}://{open_proxy.host_port}",
        }
        client = pog.client(at, env | {"SERVER_HOST": "localhost"})
        with client.program:
            check(client, open_proxy, at, origins)


@pytest.mark.parametrize(
    ("via", "text"),
    [
        ("http://{}", "wants user and password (407 "),
        ("http://me:wrong@{}", "does not take me:*** (407 "),
        ("socks5://{}", "wants user and password"),
        ("socks5://me:wrong@{}", "does not take me:***"),
    ],
)
def test_a_login_that_the_proxy_does_not_take_is_told(
    via: str, text: str, proxy: pog.End, shared_server: pog.End
) -> None:
    client = pog.client(shared_server.host_port, {"SERVER_VIA": via.format(proxy.host_port), "EXIT_WAIT": "0.5"})
    with client.program, connect(client.address, "127.0.0.1:1") as answer:
        assert answer.status == 503
        assert text in answer.body
        assert "error=proxy_configuration_error" in answer.fields["proxy-status"]
        assert "wrong" not in said(client)


@pytest.mark.parametrize(
    ("via", "text"),
    [
        ("http://127.0.0.1:{}", "the proxy http://127.0.0.1:{}: Connection refused"),
        ("socks5://nobody.invalid:{}", "the proxy socks5://nobody.invalid:{}: nobody.invalid has no address"),
    ],
)
def test_a_proxy_that_is_not_there_is_named(via: str, text: str, shared_server: pog.End) -> None:
    port = unused_port()
    client = pog.client(shared_server.host_port, {"SERVER_VIA": via.format(port), "EXIT_WAIT": "0.5"})
    with client.program, connect(client.address, "127.0.0.1:1") as answer:
        assert answer.status == 503
        assert text.format(port) in answer.body


def test_a_server_that_the_proxy_does_not_reach_is_the_proxys_word(open_proxy: pog.End) -> None:
    server = f"127.0.0.1:{unused_port()}"
    client = pog.client(server, {"SERVER_VIA": f"http://{open_proxy.host_port}", "EXIT_WAIT": "0.5"})
    with client.program, connect(client.address, "127.0.0.1:1") as answer:
        assert f"refuses CONNECT {server}: 502" in answer.body


def test_https_proxy_is_honoured_and_the_log_says_so(proxy: pog.End, shared_server: pog.End, origins: Origins) -> None:
    server = f"{NAME}:{shared_server.address[1]}"
    variable = f"http://{LOGIN}{proxy.host_port}"
    client = pog.client(server, {"HTTPS_PROXY": variable})
    with client.program:
        client.program.wait_line(f"^pog: {server} is reached through http://mé:\\*\\*\\*@.*, as HTTPS_PROXY says$")
        check(client, proxy, server, origins)
    # Without the proxy the name is known here only.
    for env in ({"HTTPS_PROXY": variable, "NO_PROXY": ".good.test"}, {"HTTPS_PROXY": variable, "SERVER_VIA": "direct"}):
        before = len(proxy.program.stdout)
        client = pog.client(server, env | NAMES)
        with client.program, connect(client.address, origins.start(echo).host_port) as tunnel:
            assert tunnel.status == 200
        assert len(proxy.program.stdout) == before
    client.program.wait_line("pog client on")
    assert not [line for line in client.program.stderr if "HTTPS_PROXY" in line], "it was told otherwise"


def test_a_variable_that_names_the_client_itself_is_not_used(shared_server: pog.End, origins: Origins) -> None:
    """As in a shell that was set up for the client's users."""
    port = unused_port()
    env = {"HTTPS_PROXY": f"http://127.0.0.1:{port}", "CLIENT_LISTEN": f"127.0.0.1:{port}", **NAMES}
    client = pog.client(f"{NAME}:{shared_server.address[1]}", env)
    with client.program, connect(client.address, origins.start(echo).host_port) as tunnel:
        assert tunnel.status == 200
        client.program.wait_line("^pog: HTTPS_PROXY is this client itself, so .* is reached without it$")


def test_health_goes_the_same_way(open_proxy: pog.End, shared_server: pog.End) -> None:
    server = f"{NAME}:{shared_server.address[1]}"
    asking = [*pog.POG, "health", "--insecure", server]
    for program in (
        Program([*asking, "--via", f"socks5://{open_proxy.host_port}"]),
        Program(asking, {"https_proxy": open_proxy.host_port}),
    ):
        assert program.wait() == 0, program.output()
        assert program.stdout == ["SERVING"]
