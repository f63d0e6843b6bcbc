"""nghttp2's tools against the server's pages."""

import re

import pytest

from tests.helpers import pog
from tests.system.conftest import Tool


def test_nghttp(run: Tool, server: pog.End) -> None:
    said = run("nghttp", "--verbose", "--no-dep", f"http://{server.host_port}/healthz")
    assert ":status: 200" in said
    assert "END_STREAM" in said
    assert "RST_STREAM" not in said


def test_nghttp_by_upgrade(run: Tool, server: pog.End) -> None:
    said = run("nghttp", "--verbose", "--upgrade", f"http://{server.host_port}/healthz")
    assert "101 Switching Protocols" in said or "HTTP/1.1 101" in said
    assert ":status: 200" in said


@pytest.mark.parametrize("path", ["/healthz", "/metrics", "/nothing"])
def test_h2load(run: Tool, server: pog.End, path: str) -> None:
    """Several hundred requests on four connections, ten at a time on each; all answered."""
    said = run("h2load", "-n", "400", "-c", "4", "-m", "10", f"http://{server.host_port}{path}")
    assert re.search(r"400 total, 400 started, 400 done, \d+ succeeded, \d+ failed, 0 errored, 0 timeout", said), said
    codes = "0 2xx, 0 3xx, 400 4xx" if path == "/nothing" else "400 2xx, 0 3xx, 0 4xx"
    assert f"status codes: {codes}, 0 5xx" in said, said


def test_h2load_with_bodies(run: Tool, server: pog.End, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Requests whose body nobody reads neither hang nor starve the connection's window."""
    body = tmp_path_factory.mktemp("h2load") / "body"
    body.write_bytes(bytes(50_000))
    said = run("h2load", "-n", "100", "-c", "2", "-m", "5", "-d", str(body), f"http://{server.host_port}/healthz")
    assert "100 done" in said and "0 errored, 0 timeout" in said, said
