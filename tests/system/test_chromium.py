"""Chromium loads pages over TLS through the proxy."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Pair
from tests.helpers import pog
from tests.helpers.origin import Origin
from tests.helpers.tls import Authority
from tests.system.conftest import Tool
from tests.system.conftest import program as find

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--disable-crash-reporter",
    # Chromium takes loopback targets past the proxy unless told otherwise.
    "--proxy-bypass-list=<-loopback>",
    "--dump-dom",
)


@pytest.fixture
def home(tmp_path: Path, authority: Authority, run: Tool) -> Iterator[Path]:
    """A home folder whose certificate store trusts the throw-away authority."""
    find("chromium")
    store = tmp_path / ".pki" / "nssdb"
    store.mkdir(parents=True)
    run("certutil", "-d", f"sql:{store}", "-N", "--empty-password")
    run("certutil", "-d", f"sql:{store}", "-A", "-t", "C,,", "-n", "pog", "-i", str(authority.ca_file))
    yield tmp_path


def browse(run: Tool, home: Path, proxy: pog.End, url: str) -> str:
    flags = (*FLAGS, f"--user-data-dir={home}/profile", f"--proxy-server=http://{proxy.host_port}")
    env = {"HOME": str(home), "XDG_CONFIG_HOME": f"{home}/config", "XDG_CACHE_HOME": f"{home}/cache"}
    return run("chromium", *flags, url, env=env | {"PATH": os.environ["PATH"]}, seconds=50)


def test_a_page_over_tls(run: Tool, home: Path, pair: Pair, secure_page: Origin) -> None:
    before = secure_page.accepted
    said = browse(run, home, pair.client, f"https://localhost:{secure_page.port}/")
    assert "through the tunnel" in said
    assert secure_page.accepted > before
    assert any(f"localhost:{secure_page.port} anonymous" in line for line in pair.client.program.stdout)
