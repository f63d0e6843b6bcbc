"""curl as a user of the proxy, and as a reader of the server's pages in every version of HTTP."""

import pytest

from tests.conftest import Pair
from tests.helpers import pog
from tests.helpers.items import item
from tests.helpers.origin import Origin, Origins, digest, source
from tests.helpers.tls import Authority
from tests.system.conftest import PAGE, Tool

QUIET = ("--silent", "--show-error", "--fail", "--max-time", "20", "--noproxy", "")


def test_http_through_the_tunnel(run: Tool, pair: Pair, page: Origin) -> None:
    """By CONNECT; test_plain_http.py has the usual way."""
    got = run("curl", *QUIET, "--proxytunnel", "-x", f"http://{pair.client.host_port}", f"http://{page.host_port}/")
    assert got.encode() == PAGE


def test_https_through_the_tunnel(run: Tool, pair: Pair, secure_page: Origin, authority: Authority) -> None:
    url, ca = f"https://localhost:{secure_page.port}/", str(authority.ca_file)
    assert run("curl", *QUIET, "--cacert", ca, "-x", f"http://{pair.client.host_port}", url).encode() == PAGE


def test_variables(run: Tool, pair: Pair, secure_page: Origin, authority: Authority) -> None:
    env = {"https_proxy": f"http://{pair.client.host_port}", "CURL_CA_BUNDLE": str(authority.ca_file)}
    assert run("curl", *QUIET[:-2], f"https://{secure_page.host_port}/", env=env).encode() == PAGE


def test_a_refusal_is_shown(run: Tool, pair: Pair) -> None:
    args = ("--silent", "--verbose", "--max-time", "20", "--noproxy", "", "-x", f"http://{pair.client.host_port}")
    with pytest.raises(AssertionError) as caught:
        run("curl", *args, "https://0.0.0.0:1/")
    text = str(caught.value)
    assert "403" in text
    assert "< X-Proxy-Over-GRPC-Error: 0.0.0.0:1" in text
    assert "< Proxy-Status: pog; error=destination_ip_prohibited" in text


def test_proxy_user(run: Tool, pair: Pair, secure_page: Origin, authority: Authority) -> None:
    client = pog.client(pair.server.host_port, {"CLIENT_AUTH_A": item("me", "p w")})
    url = f"https://localhost:{secure_page.port}/"
    with client.program:
        args = (*QUIET, "--cacert", str(authority.ca_file), "-x", f"http://{client.host_port}")
        assert run("curl", *args, "--proxy-user", "me:p w", url).encode() == PAGE
        with pytest.raises(AssertionError, match="ended with (22|56)"):
            run("curl", *args, "--proxy-user", "me:no", url)
        # curl asks again on a new connection with the scheme that the challenge names
        assert run("curl", *args, "--proxy-anyauth", "--proxy-user", "me:p w", url).encode() == PAGE


@pytest.mark.parametrize(
    ("args", "version"),
    [(("--http1.1",), "1.1"), (("--http2-prior-knowledge",), "2"), (("--http2",), "2")],
    ids=["http1.1", "prior-knowledge", "upgrade"],
)
@pytest.mark.parametrize("path", ["/healthz", "/metrics", "/"])
def test_pages(run: Tool, server: pog.End, args: tuple[str, ...], version: str, path: str) -> None:
    url = f"http://{server.host_port}{path}"
    said = run("curl", *QUIET, *args, "--output", "/dev/null", "--write-out", "%{http_version} %{response_code}", url)
    assert said == f"{version} 200"


def test_a_large_download(run: Tool, pair: Pair, origins: Origins) -> None:
    size = 50_000_000
    origin = origins.start(source(size))
    args = ("-p", "-x", f"http://{pair.client.host_port}", "--http0.9", f"http://{origin.host_port}/")
    made = run("bash", "-c", 'curl "$@" | sha256sum', "curl", *QUIET, *args)
    assert made.split()[0] == digest(size)
