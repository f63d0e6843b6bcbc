"""Three exits, one of which is gone and one breaks after the first bytes: curl and Chromium notice nothing."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tests.helpers import pog
from tests.helpers.original import Breaking, serving
from tests.system.test_chromium import browse, home, site

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.helpers.origin import Origin, Origins
    from tests.helpers.tls import Authority
    from tests.system.conftest import Tool

__all__ = ["home"]

REQUESTS = 100


@pytest.fixture
def three_exits(tmp_path: Path, shared_server: pog.End) -> Iterator[tuple[pog.End, Breaking]]:
    breaking = Breaking()
    with socket.socket() as gone, serving(breaking) as between:
        gone.bind(("127.0.0.1", 0))
        exits = {
            "gone": "{}:{}".format(*gone.getsockname()),
            "breaking": between.address,
            "good": shared_server.host_port,
        }
        path = tmp_path / "pog.toml"
        path.write_text(
            "".join(f'[[exits]]\nname = "{k}"\nserver = "{v}"\ninsecure = true\n' for k, v in exits.items())
        )
        end = pog.client("", {"POG_CONFIG": str(path), "INSECURE": ""})
        with end.program:
            yield end, breaking


def test_a_hundred_first_requests_of_curl_all_succeed(
    run: Tool, three_exits: tuple[pog.End, Breaking], secure_page: Origin, authority: Authority
) -> None:
    end, breaking = three_exits
    url = f"https://localhost:{secure_page.port}/"

    def ask(number: int) -> float:
        flags = ("-sS", "--fail", "--cacert", str(authority.ca_file), "-x", f"http://{end.host_port}")
        said = run("curl", *flags, "-w", "%{time_total}", url)
        assert "through the tunnel" in said
        return float(said.rpartition("</p>")[2])

    with ThreadPoolExecutor(5) as pool:
        seconds = list(pool.map(ask, range(REQUESTS)))
    assert len(seconds) == REQUESTS
    assert len(breaking.firsts) == REQUESTS, "each went to the breaking exit first"
    print(f"{REQUESTS} requests, the slowest {max(seconds):.2f} s")


def test_a_page_of_chromium_with_its_parts(
    run: Tool, home: Path, three_exits: tuple[pog.End, Breaking], origins: Origins, authority: Authority
) -> None:
    parts = {f"/{n}.js": f"document.title += '{n}'" for n in range(6)}
    scripts = "".join(f'<script src="/{n}.js"></script>' for n in range(6))
    page = {"/": f"<!doctype html><title>got</title>{scripts}<p>whole"}
    origin = origins.start(site(page | parts), tls=authority.server_context())
    end, breaking = three_exits
    said = browse(run, home, f"http://{end.host_port}", f"https://localhost:{origin.port}/")
    assert "<title>got012345</title>" in said
    assert breaking.firsts
