"""systemd reads the units that are deployed, and finds them hardened."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.helpers.process import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from tests.system.conftest import Tool


@pytest.fixture(params=["server", "client"])
def unit(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The unit as it is deployed, but with a program that is there."""
    name = f"pog-{request.param}.service"
    text = (ROOT / "deploy" / "systemd" / name).read_text().replace("/opt/pog/bin/pog", "/bin/true")
    path = tmp_path / name
    path.write_text(text)
    return path


def test_nothing_is_wrong(run: Tool, unit: Path) -> None:
    said = run("systemd-analyze", "--man=no", "verify", str(unit))
    assert unit.name not in said, said


def test_nothing_is_wrong_with_a_socket(run: Tool, tmp_path: Path) -> None:
    for kind in ("service", "socket"):
        text = (ROOT / "deploy" / "systemd" / f"pog-client.{kind}").read_text().replace("/opt/pog/bin/pog", "/bin/true")
        (tmp_path / f"pog-client.{kind}").write_text(text)
    said = run("systemd-analyze", "--man=no", "verify", str(tmp_path / "pog-client.socket"))
    assert "pog-client" not in said, said


def test_little_is_exposed(run: Tool, unit: Path) -> None:
    """Of 10; what systemd calls OK is below 2."""
    said = run("systemd-analyze", "--no-pager", "security", "--offline=yes", str(unit))
    level = re.search(rf"Overall exposure level for {unit.name}: ([\d.]+)", said)
    assert level and float(level[1]) < 2, said
