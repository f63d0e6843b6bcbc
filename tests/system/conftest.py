"""Other people's programs, found or the test is skipped; in CI a missing one is a failure."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from tests.helpers import pog
from tests.helpers.origin import Origin, Origins, answer
from tests.helpers.tls import Authority
from tests.system.site import Site

Tool = Callable[..., str]

PAGE = b"<!doctype html><title>pog</title><p id=a>through the tunnel</p>"


def program(name: str) -> str:
    """The path of a program."""
    path = shutil.which(name) or shutil.which(name, path=os.path.dirname(sys.executable))
    if path is None:
        _missing(f"{name} is not installed (tests/system/run installs it as root on Debian)")
    return path


def node_modules(package: str) -> Path:
    """The folder in which Node finds a package."""
    program("node")
    folder = Path(sys.prefix) / "node" / "node_modules"
    if not (folder / package).exists():
        _missing(f"{package} is not in {folder} (tests/system/run installs it where there is npm)")
    return folder


def _missing(what: str) -> NoReturn:
    if os.environ.get("CI", "").lower() in ("1", "true"):
        pytest.fail(what)
    pytest.skip(what)


@pytest.fixture
def run() -> Tool:
    """Runs a program to its end and gives its stdout and stderr together; any status but 0 fails."""

    def call(name: str, *args: str, env: dict[str, str] | None = None, seconds: float = 30) -> str:
        environ = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        ended = subprocess.run(
            [program(name), *args],
            env=environ | (env or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=seconds,
        )
        assert ended.returncode == 0, f"{' '.join(ended.args)} ended with {ended.returncode}\n{ended.stdout}"
        return ended.stdout

    return call


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """Files and git repositories over plain HTTP."""
    folder = tmp_path / "site"
    folder.mkdir()
    with Site(folder).serving() as site:
        yield site


@pytest.fixture(scope="session")
def page(origins: Origins) -> Origin:
    """An HTTP origin."""
    return origins.start(answer(PAGE))


@pytest.fixture(scope="session")
def secure_page(origins: Origins, authority: Authority) -> Origin:
    """The same over TLS."""
    return origins.start(answer(PAGE), tls=authority.server_context())


@pytest.fixture(scope="module", params=["pog-server", "hypercorn"])
def server(request: pytest.FixtureRequest, shared_server: pog.End) -> Iterator[pog.End]:
    """The two ways in which a server is deployed."""
    if request.param == "pog-server":
        yield shared_server
        return
    end = pog.hypercorn()
    with end.program:
        yield end
