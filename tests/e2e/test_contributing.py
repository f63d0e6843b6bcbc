"""What docs/contributing.md says of new fronts and exits works as it is written there: a file and a line for each."""

from __future__ import annotations

import re
import shutil
import socket
from typing import TYPE_CHECKING

import pytest

from pog.client.exits import kinds
from pog.config import file, rules
from pog.front.base import FrontOptions
from pog.front.sniff import FRONTS
from tests.helpers import pog
from tests.helpers.origin import Origins, answer, blocks, source, unused_port
from tests.helpers.process import ROOT, Program
from tests.helpers.user import connect

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterator
    from pathlib import Path

_BLOCK = re.compile(r"^```python\n# (\S+\.py)(?:: (\w+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCKS = _BLOCK.findall((ROOT / "docs" / "contributing.md").read_text())
FILES = {path: text for path, table, text in BLOCKS if not table}
LINES = [(path, table, line) for path, table, line in BLOCKS if table]
SIZE = 3_000_000


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pog, the page's files and its lines."""
    folder = tmp_path_factory.mktemp("changed")
    shutil.copytree(ROOT / "pog", folder / "pog", ignore=shutil.ignore_patterns("__pycache__"))
    for name, text in FILES.items():
        assert not (folder / name).exists()
        (folder / name).write_text(text)
    for name, table, line in LINES:
        text = (folder / name).read_text().replace("\nfrom pog", f"\n{_import_for(line)}\nfrom pog", 1)
        before, head, after = re.split(rf"^({table}: .*\n)", text, flags=re.MULTILINE)
        (folder / name).write_text(before + head + line + after)
    return folder


def _import_for(line: str) -> str:
    """What a line needs: the class in it, from the page's file that has it."""
    [found] = (
        f"from {path.removesuffix('.py').replace('/', '.')} import {name}"
        for path, text in FILES.items()
        for name in re.findall(r"^class (\w+)", text, re.MULTILINE)
        if re.search(rf"\b{name}\b", line)
    )
    return found


@pytest.fixture(scope="module")
def client(changed: Path) -> Iterator[pog.End]:
    end = pog.client("direct:", cwd=changed)
    with end.program:
        yield end


async def first(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"the first\n")


async def second(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"the second\n")


def test_a_front_that_hands_its_connection_over(client: pog.End, origins: Origins) -> None:
    origin = origins.start(answer(b"content"))
    with socket.create_connection(client.address, timeout=10) as user:
        user.sendall(f"X {origin.host_port}\nGET / HTTP/1.0\r\n\r\n".encode())
        said = user.makefile("rb").read()
    assert said.startswith(b"OK\nHTTP/1.1 200")
    assert said.endswith(b"content")


def test_a_front_that_goes_on(client: pog.End, origins: Origins) -> None:
    """Several hosts one after the other on one connection, one of which does not answer; then two requests at once."""
    one, two = origins.start(first).host_port, origins.start(second).host_port
    with socket.create_connection(client.address, timeout=10) as user, user.makefile("rb") as lines:

        def ask(host_port: str) -> bytes:
            user.sendall(f"ASK {host_port}\n".encode())
            return lines.readline()

        assert ask(one) == b"the first\n"
        assert lines.readline() == b".\n"
        assert ask(two) == b"the second\n"
        assert lines.readline() == b".\n"
        assert ask(f"127.0.0.1:{unused_port()}").startswith(b"NO 127.0.0.1:")
        assert ask(f"{one}\nASK {two}") == b"the first\n"
        assert [lines.readline() for _ in range(3)] == [b".\n", b"the second\n", b".\n"]
        user.sendall(f"ASK {origins.start(source(SIZE)).host_port}\n".encode())
        assert lines.read(SIZE) == b"".join(blocks(SIZE))
        assert lines.readline() == b".\n"
        client.program.wait_line(rf"^pog: {one} anonymous ASK 127\.0\.0\.1:\d+ .* 200$")


def test_an_exit_that_fails(changed: Path) -> None:
    end = pog.client("fail:", cwd=changed)
    with end.program, connect(end.address, "example.com:443") as answer:
        assert answer.status == 500
        assert answer.body == "example.com:443: on purpose\n"


def test_an_exit_that_does_not_exist(changed: Path) -> None:
    with Program([*pog.POG, "client"], {"SERVER_ADDR": "wormhole:"}, cwd=changed) as program:
        assert program.wait() == 2
        assert "there is no exit wormhole:, only direct, fail, reject" in program.output()


def test_the_names_that_rules_may_use_are_those_of_fronts_and_exits() -> None:
    made = {make(FrontOptions()).name for _, make in FRONTS}
    assert made >= set(rules.FRONTS)
    assert kinds.BUILT_IN.keys() >= set(file.BUILT_IN)
