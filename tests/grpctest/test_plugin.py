"""The pytest plugin, in runs of pytest of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

ROOT = Path(__file__).parents[2]
HEAD = """
import asyncio, socket
import pytest
from pog.grpctest import Transport
from tests.grpctest.services import Echo, EchoStub, say

@pytest.fixture
def grpc_services():
    return [Echo()]
"""
SUMMARY = re.compile(r"^(PASSED|FAILED|ERROR) [\w.]+::(\S+)", re.MULTILINE)


class Outcome:
    """What a run of pytest said; `results` are outcomes by test."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.results: dict[str, list[str]] = {}
        for outcome, test in SUMMARY.findall(text):
            self.results.setdefault(test, []).append(outcome)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """All cases in one run: starting pytest takes longer than any of them."""
    folder = tmp_path_factory.mktemp("plugin")
    (folder / "test_cases.py").write_text(HEAD + dedent(CASES))
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--strict-markers", "-rA", "-W", "error"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    return Outcome(ended.stdout + ended.stderr)


CASES = """
async def test_server(grpc_server):
    async with grpc_server(Echo()) as sc:
        assert sc.transport is Transport.TCP
        assert await say(sc.channel) == "hello"

async def test_channel(grpc_channel):
    assert await say(grpc_channel) == "hello"

@pytest.mark.grpc_transport("memory", "app")
class TestClass:
    async def test_method(self, grpc_server, grpc_transport):
        async with grpc_server(Echo()) as sc:
            assert sc.transport == grpc_transport
        async with grpc_server(Echo(), transport="tls") as sc:
            assert sc.transport is Transport.TLS

@pytest.mark.grpc_transport("wrong")
async def test_wrong_transport(grpc_channel):
    pass

@pytest.mark.parametrize("word", ["a", "b"])
async def test_parameters(grpc_channel, word):
    assert await say(grpc_channel, word) == word

def test_without_coroutine(grpc_server):
    async def main():
        async with grpc_server(Echo()) as sc:
            assert await say(sc.channel) == "hello"
    asyncio.run(main())

def test_channel_without_coroutine(grpc_channel):
    pass

async def test_failure(grpc_channel):
    assert await say(grpc_channel) == "goodbye"

async def test_leaves_a_task(grpc_server):
    asyncio.get_running_loop().create_task(asyncio.sleep(1000), name="forgotten")

async def test_leaves_a_task_that_ends_soon(grpc_server):
    asyncio.get_running_loop().create_task(asyncio.sleep(0.01), name="short").cancel()

kept = []

async def test_leaves_a_socket(grpc_server):
    kept.append(socket.create_server(("127.0.0.1", 0)))

@pytest.mark.grpc_leaves_sockets
async def test_may_leave_a_socket(grpc_server):
    kept.append(socket.create_server(("127.0.0.1", 0)))

@pytest.mark.anyio
async def test_anyio(grpc_channel, anyio_backend_name):
    assert anyio_backend_name == "asyncio"
    assert await say(grpc_channel) == "hello"

@pytest.mark.anyio
async def test_anyio_leaves_a_task(grpc_channel):
    await say(grpc_channel)
    asyncio.get_running_loop().create_task(asyncio.sleep(1000), name="forgotten")

@pytest.fixture
def anyio_backend():
    return "asyncio"
"""


@pytest.mark.parametrize(
    "test",
    [
        "test_server",
        "test_channel",
        "TestClass::test_method[memory]",
        "TestClass::test_method[app]",
        "test_parameters[a]",
        "test_parameters[b]",
        "test_without_coroutine",
        "test_leaves_a_task_that_ends_soon",
        "test_may_leave_a_socket",
        "test_anyio",
    ],
)
def test_passes(ran: Outcome, test: str) -> None:
    assert ran.results[test] == ["PASSED"], ran.text


@pytest.mark.parametrize(
    ("test", "results", "text"),
    [
        ("test_wrong_transport[wrong]", ["ERROR"], "'wrong' is not a valid Transport"),
        ("test_channel_without_coroutine", ["ERROR"], "grpc_channel needs a test that is a coroutine"),
        ("test_failure", ["FAILED"], "assert 'hello' == 'goodbye'"),
        ("test_leaves_a_task", ["PASSED", "ERROR"], "task forgotten: sleep, at "),
        ("test_leaves_a_socket", ["PASSED", "ERROR"], "socket listening on 127.0.0.1:"),
        ("test_anyio_leaves_a_task", ["FAILED"], "task forgotten: sleep, at "),
    ],
)
def test_fails(ran: Outcome, test: str, results: list[str], text: str) -> None:
    assert sorted(ran.results[test]) == sorted(results), ran.text
    assert text in ran.text


def test_nothing_else_fails(ran: Outcome) -> None:
    assert "2 failed, 12 passed, 4 errors in " in ran.text, ran.text


def test_the_plugin_costs_little() -> None:
    """It is in every run of pytest where pog is installed: grpclib and all that comes later."""
    code = "import sys, pytest, pog.pytest_plugin; print(sorted({'grpclib', 'h2', 'hypercorn'} & {*sys.modules}))"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout == "[]\n"


def test_without_services_it_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text("async def test_it(grpc_channel):\n    pass\n")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert "grpc_channel needs a fixture grpc_services that returns the services" in ended.stdout
