"""The commands that docs/operations.md gives to ask a server are run as they stand there."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.helpers import pog
from tests.helpers.items import item
from tests.helpers.known_faults import LATE_DATA
from tests.helpers.process import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

BLOCK = re.search(r"## Ask it\n.*?```sh\n(.*?)```", (ROOT / "docs" / "operations.md").read_text(), re.DOTALL)
LINES = [line for line in (BLOCK[1] if BLOCK else "").splitlines() if line and not line.startswith("#")]
# What the lines behind an assignment need.
VARIABLES = [line for line in LINES if re.match(r"[A-Z]+=", line)]
COMMANDS = [line for line in LINES if line not in VARIABLES]


@pytest.fixture(scope="module", params=["with items", "without"])
def server(request: pytest.FixtureRequest) -> Iterator[pog.End]:
    items = {"POG_AUTH_LAPTOP": item("laptop", "PASSWORD"), "STACKS": ""}
    end = pog.server(items if request.param == "with items" else {"STACKS": "1"})
    with end.program:
        yield end


@LATE_DATA
@pytest.mark.parametrize("command", COMMANDS)
def test_a_server_is_asked(server: pog.End, command: str) -> None:
    name = command.split()[0]
    if name != "pog" and shutil.which(name) is None:
        pytest.skip(f"{name} is not installed")
    here = command.replace("HOST:8080", server.host_port).replace("pog ", f"{sys.executable} -m pog ", 1)
    here = here.replace("curl ", "curl -sS --fail --noproxy '*' ", 1) if name == "curl" else here
    script = "\n".join([*VARIABLES, here])
    ended = subprocess.run(["bash", "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout


def test_every_kind_of_command_is_there() -> None:
    assert {line.split()[0] for line in COMMANDS} == {"pog", "curl", "grpcurl"}
