"""What `make` installs is found from everywhere, also from the folder above a clone that is called pog.

Python takes the clone itself, `./pog`, for a package without `__init__.py` there, unless the real one is on sys.path.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import pog as package
from tests.helpers import pog
from tests.helpers.process import ROOT, Program
from tests.helpers.user import get

if TYPE_CHECKING:
    from collections.abc import Sequence

BIN = Path(sys.executable).parent


@pytest.fixture
def above(tmp_path: Path) -> Path:
    """A folder in which the clone is called pog."""
    (tmp_path / "pog").symlink_to(ROOT)
    return tmp_path


@pytest.mark.parametrize("command", [(sys.executable, "-m", "pog"), (str(BIN / "pog"),)], ids=["module", "script"])
def test_the_command_from_above_the_clone(above: Path, command: Sequence[str]) -> None:
    with Program([*command, "--version"], cwd=above) as program:
        assert program.wait() == 0
        assert program.stdout == [f"pog, version {package.__version__}"]


def test_hypercorn_from_above_the_clone(above: Path) -> None:
    end = pog.hypercorn(cwd=above)
    with end.program:
        assert get(end.address, "/healthz")[0] == 200
