"""Which Python the end-to-end tests are run on, beside our own."""

from __future__ import annotations

import stat
import sys
from typing import TYPE_CHECKING

from tests import newest
from tests.newest import Python, others

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

OURS = (3, 11, 7)


def test_the_newest_comes_first_and_our_own_minor_version_does_not_count() -> None:
    old, same, mid, new, newer = (
        Python(version, path)
        for version, path in (
            ((3, 9, 18), "a"),
            ((3, 11, 2), "b"),
            ((3, 12, 1), "c"),
            ((3, 13, 0), "d"),
            ((3, 13, 9), "e"),
        )
    )
    assert others([old, same, new, newer, mid], OURS) == [newer, mid]
    assert others([old, same], OURS) == []
    assert others([same, mid], (3, 13, 0)) == [mid, same]


def test_two_digits_are_newer_than_one() -> None:
    assert others([Python((3, 9, 1), "a"), Python((3, 14, 0), "b"), Python((4, 0, 0), "c")], OURS)[0].path == "c"


def test_what_cannot_be_run_or_is_not_released_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shim of pyenv fails, and a preview of the next version has no wheels."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(newest, "_PLACES", (f"{tmp_path}/*/bin",))
    place = tmp_path / "3.15" / "bin"
    place.mkdir(parents=True)
    for path, script in (
        (tmp_path / "python3.12", "echo pyenv: python3.12: command not found >&2; exit 127"),
        (tmp_path / "python3.14", "echo '[[3, 14, 0], \"candidate\"]'"),
        (tmp_path / "python3.13-config", "echo '[[3, 13, 0], \"final\"]'"),
        (place / "python3.15", "echo '[[3, 15, 1], \"final\"]'"),
    ):
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    assert newest.found() == [Python((3, 15, 1), str(place / "python3.15"))]


def test_one_python_alone_is_said_and_no_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(newest, "found", lambda: [Python(sys.version_info[:3], sys.executable)])
    assert newest.main([]) == 0
    assert capsys.readouterr().out.startswith("there is only one Python that pog can be tested on here, 3.")
