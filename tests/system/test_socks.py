"""curl by every kind of SOCKS, on the port that is an HTTP proxy too."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.helpers import pog
from tests.helpers.items import item
from tests.helpers.origin import answer, digest, source, unused_port
from tests.system.conftest import PAGE

if TYPE_CHECKING:
    from tests.conftest import Pair
    from tests.helpers.origin import Origin, Origins
    from tests.helpers.tls import Authority
    from tests.system.conftest import Tool

QUIET = ("--silent", "--show-error", "--fail", "--max-time", "20", "--noproxy", "")
FLAGS = ("--socks4", "--socks4a", "--socks5", "--socks5-hostname")


@pytest.mark.parametrize("flag", FLAGS)
def test_pages(run: Tool, pair: Pair, page: Origin, secure_page: Origin, authority: Authority, flag: str) -> None:
    args = (*QUIET, "--cacert", str(authority.ca_file), flag, pair.client.host_port)
    assert run("curl", *args, f"http://localhost:{page.port}/").encode() == PAGE
    assert run("curl", *args, f"https://localhost:{secure_page.port}/").encode() == PAGE


@pytest.mark.parametrize(
    ("flag", "resolved"), [*((f, "127.0.0.1") for f in FLAGS[::2]), *((f, "localhost") for f in FLAGS[1::2])]
)
def test_who_resolves_the_name(run: Tool, pair: Pair, origins: Origins, flag: str, resolved: str) -> None:
    """Names that come here are passed on as they are."""
    origin = origins.start(answer(PAGE))
    run(
        "curl",
        *QUIET,
        "--ipv4",
        "--output",
        "/dev/null",
        flag,
        pair.client.host_port,
        f"http://localhost:{origin.port}/",
    )
    protocol = f"SOCKS{flag[7]}"
    pair.client.program.wait_line(f"^pog: {resolved}:{origin.port} anonymous {protocol} ")


def test_proxy_user(run: Tool, pair: Pair, page: Origin) -> None:
    client = pog.client(pair.server.host_port, {"CLIENT_AUTH_A": item("me", "p w")})
    url = f"http://localhost:{page.port}/"
    with client.program:
        for flag in ("--socks5", "--socks5-hostname"):
            args = (*QUIET, flag, client.host_port)
            assert run("curl", *args, "--proxy-user", "me:p w", url).encode() == PAGE
            with pytest.raises(AssertionError, match=r"ended with 97\n.*User was rejected by the SOCKS5 server"):
                run("curl", *args, "--proxy-user", "me:no", url)
            with pytest.raises(AssertionError, match=r"ended with 97\n.*No authentication method was acceptable"):
                run("curl", *args, url)
        for flag in ("--socks4", "--socks4a"):
            with pytest.raises(AssertionError, match=r"ended with 97\n.*\(91\)"):
                run("curl", *QUIET, flag, client.host_port, "--proxy-user", "me:p w", url)
        client.program.wait_line("SOCKS 4 cannot carry: use SOCKS 5 or HTTP")


def test_a_user_id_is_a_name_where_no_password_is_wanted(run: Tool, pair: Pair, page: Origin) -> None:
    run("curl", *QUIET, "-x", f"socks4a://somebody@{pair.client.host_port}", f"http://localhost:{page.port}/")
    pair.client.program.wait_line(f"^pog: localhost:{page.port} somebody SOCKS4 .* 200$")


@pytest.mark.parametrize(("host", "reply"), [("0.0.0.0:1", 2), ("nowhere.invalid", 4), ("", 5)])
def test_a_refusal_has_its_code(run: Tool, pair: Pair, host: str, reply: int) -> None:
    url = f"http://{host or f'127.0.0.1:{unused_port()}'}/"
    with pytest.raises(AssertionError, match=rf"ended with 97\n.*\({reply}\)"):
        run("curl", *QUIET, "--socks5-hostname", pair.client.host_port, url)
    with pytest.raises(AssertionError, match=r"ended with 97\n.*\(91\)"):
        run("curl", *QUIET, "--socks4a", pair.client.host_port, url)


def test_a_port_that_is_not_tls_says_so(run: Tool, pair: Pair, page: Origin) -> None:
    with pytest.raises(AssertionError, match=r"ended with 35\n.*wrong version number"):
        run("curl", *QUIET, "-x", f"https://{pair.client.host_port}", f"http://{page.host_port}/")
    pair.client.program.wait_line("this looks like a TLS hello: this port is not TLS")


@pytest.mark.parametrize("flag", FLAGS[1::2])
def test_a_large_download(run: Tool, pair: Pair, origins: Origins, flag: str) -> None:
    size = 50_000_000
    origin = origins.start(source(size))
    args = (flag, pair.client.host_port, "--http0.9", f"http://{origin.host_port}/")
    made = run("bash", "-c", 'curl "$@" | sha256sum', "curl", *QUIET, *args)
    assert made.split()[0] == digest(size)
