"""The package as a user gets it: the wheel, installed into an environment of its own, used by a project elsewhere."""

import json
import os
import re
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from tests.grpctest.test_docs import blocks

ROOT = Path(__file__).parents[2]
SECONDS = 300
PROJECT = """\
[project]
name = "scratch"
version = "1"

[tool.pytest.ini_options]
addopts = "--strict-markers --strict-config"
filterwarnings = ["error"]
"""
TYPED = """\
from collections.abc import Sequence

import pytest
from grpclib.client import Channel
from grpclib.health.service import Health
from grpclib.health.v1.health_grpc import HealthStub
from grpclib.health.v1.health_pb2 import HealthCheckRequest
from pog import grpctest


@pytest.fixture
def grpc_services() -> Sequence[grpctest.Service]:
    return [Health()]


async def test_channel(grpc_channel: Channel) -> None:
    reply = await HealthStub(grpc_channel).Check(HealthCheckRequest())
    assert reply.status == reply.SERVING


@pytest.mark.grpc_transport("tcp", "memory", "tls", "app")
async def test_server(grpc_server: grpctest.ServerFactory) -> None:
    async with grpc_server(Health(), faults=grpctest.Faults(latency=0.001)) as sc:
        reply = await HealthStub(sc.channel).Check(HealthCheckRequest())
        assert reply.status == reply.SERVING
"""


def run(*command: object, cwd: Path, **variables: str) -> str:
    """stdout of a program that must succeed; variables that change what Python imports are not passed on."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PYTEST"))}
    ended = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=environ | variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert ended.returncode == 0, f"{command} ended with {ended.returncode}\n{ended.stdout}\n{ended.stderr}"
    return ended.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy of what is under version control, so that nothing else gets in."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in run("git", "ls-files", "-z", "--", "pog", "pyproject.toml", "README.md", "LICENSE", cwd=ROOT).split(
        "\0"
    ):
        if name:
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", out, source, cwd=out)
    [built] = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment with the wheel, its extra `test`, and what that needs."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=True)
    interpreter = folder / "bin" / "python"
    options = ("--quiet", "--disable-pip-version-check", "--constraint", ROOT / "constraints.txt")
    run(interpreter, "-m", "pip", "install", *options, f"pog-proxy[test] @ {wheel.as_uri()}", cwd=folder)
    return interpreter


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project that knows pog by its name alone."""
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    for name, text in (blocks() | {"test_typed.py": TYPED}).items():
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.timeout(SECONDS)
def test_a_project_elsewhere_tests_its_services(python: Path, project: Path) -> None:
    """The page's examples, and both fixtures over all transports; the plugin is found by its entry point."""
    out = run(python, "-m", "pytest", "-rA", "-p", "no:cacheprovider", cwd=project)
    where = run(python, "-c", "import pog; print(pog.__file__)", cwd=project)
    assert str(python.parents[1]) in where
    for test in ("test_first.py::test_health", "test_echo.py::test_a_dialogue", "test_typed.py::test_channel"):
        assert f"PASSED {test}" in out, out
    for transport in ("tcp", "memory", "tls", "app"):
        assert f"PASSED test_typed.py::test_server[{transport}]" in out, out
    assert re.search(r"^=+ \d+ passed in ", out, re.MULTILINE), out


@pytest.mark.timeout(SECONDS)
def test_a_project_elsewhere_checks_its_types(python: Path, project: Path) -> None:
    """The package says what its types are: py.typed is in the wheel."""
    command = (sys.executable, "-m", "mypy", "--strict", "--python-executable", python, "test_typed.py")
    assert "Success" in run(*command, cwd=project)


@pytest.mark.timeout(SECONDS)
def test_without_the_extra_only_what_needs_it_is_missing(python: Path, project: Path) -> None:
    """As in an environment without trustme, grpcio and pytest."""
    code = """
import asyncio, json, sys
for name in ("trustme", "grpc", "pytest"):
    sys.modules[name] = None
from grpclib.health.service import Health
from pog import grpctest

async def main():
    said = []
    async with grpctest.serve(Health()) as sc:
        try:
            sc.grpcio_channel()
        except ImportError as error:
            said.append(str(error))
    try:
        async with grpctest.serve(Health(), transport="tls"):
            pass
    except ImportError as error:
        said.append(str(error))
    print(json.dumps(said))

asyncio.run(main())
"""
    grpcio, tls = json.loads(run(python, "-c", code, cwd=project))
    assert grpcio == "grpcio_channel() needs grpcio: pip install 'grpcio'"
    assert tls == "The transport 'tls' needs trustme: pip install 'trustme'"


@pytest.mark.timeout(SECONDS)
def test_the_command_is_there(python: Path, project: Path) -> None:
    assert re.match(r"pog, version \d", run(python.parent / "pog", "--version", cwd=project))
