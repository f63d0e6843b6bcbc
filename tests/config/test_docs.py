"""The files that docs/exits.md shows can be used as they stand there."""

from __future__ import annotations

import re
from pathlib import Path

from pog.config.file import read_file

DOCS = (Path(__file__).parent.parent.parent / "docs" / "exits.md").read_text()
BLOCKS = re.findall(r"```toml\n(.*?)```", DOCS, re.DOTALL)


def test_the_files_of_the_guide(tmp_path: Path) -> None:
    assert len(BLOCKS) == 2
    path = tmp_path / "pog.toml"
    path.write_text("\n".join(BLOCKS))
    found = read_file(str(path), {"WEST_AUTH": "laptop:PASSWORD"})
    assert [exit.name for exit in found.exits] == ["west", "east"]
    assert [rule.exits for rule in found.rules] == [("direct",), ("reject",), ("east", "west")]
    assert found.warnings == ()
