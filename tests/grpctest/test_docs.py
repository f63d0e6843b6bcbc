"""The examples of docs/grpctest.md pass as they are written."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "grpctest.md"


def blocks() -> dict[str, str]:
    """The page's Python, by the file names in the first lines."""
    found = re.findall(r"^```python\n# (\S+\.py)\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    return dict(found)


def test_every_block_of_python_has_a_name() -> None:
    assert PAGE.read_text().count("```python") == len(blocks()) > 0


def test_the_first_test_has_no_more_than_eight_lines() -> None:
    assert len(list(filter(None, blocks()["test_first.py"].splitlines()))) <= 8


def test_the_examples_pass(tmp_path: Path) -> None:
    """In one run of pytest, in a folder of their own, with nothing but the package's own plugin."""
    expected: set[str] = set()
    for name, text in blocks().items():
        (tmp_path / name).write_text(text)
        expected |= {f"{name}::{test}" for test in re.findall(r"^async def (test_\w+)", text, re.MULTILINE)}
    ended = subprocess.run(
        [
            sys.executable,
            "-W",
            "error",
            "-m",
            "pytest",
            "-W",
            "error",
            "-p",
            "no:cacheprovider",
            "-p",
            "no:anyio",
            "-rA",
        ],
        cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "PYTHON"))},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    passed = {test.partition("[")[0] for test in re.findall(r"^PASSED (\S+)", ended.stdout, re.MULTILINE)}
    assert passed == expected
