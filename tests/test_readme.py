"""The README's tables say what the settings are, and nothing tells to install a package that anybody could publish."""

from __future__ import annotations

import re

import pytest

from tests.helpers.process import ROOT
from tests.readme import README, with_tables

# The name in a package index, behind an option or not; `pog-proxy @ file:///...` is a file.
_COMMAND = r"\b(pip3?|pipx|uv)\b[^\n]*\binstall\b[^\n]*"
_FROM_AN_INDEX = re.compile(_COMMAND + r"""[\s'"`]pog(-proxy)?(\[[\w,]+\])?(?!\s*@)(?=[\s'"`)]|$)""", re.MULTILINE)


def test_the_tables_of_options_are_those_of_the_settings() -> None:
    text = README.read_text()
    assert with_tables(text) == text, "run: python -m tests.readme"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("pip install pog-proxy", True),
        ("pip install 'pog-proxy[gcp]'", True),
        ("run: pipx install pog\nthen", True),
        ("uv tool install --force `pog-proxy`", True),
        ("pip install .", False),
        ("pip install '/path/to/pog[test]'", False),
        ("pip install 'pog-proxy[test] @ file:///path/to/pog_proxy-0.1.0-py3-none-any.whl'", False),
        ("pip uninstall --yes pog-proxy", False),
    ],
)
def test_what_installs_from_an_index(text: str, found: bool) -> None:
    assert bool(_FROM_AN_INDEX.search(text)) is found


def test_nothing_sends_people_to_a_name_that_is_not_published() -> None:
    folders = [ROOT / name for name in ("pog", "docs", "deploy")]
    files = [*ROOT.glob("*.md"), ROOT / "Makefile", *(path for folder in folders for path in folder.rglob("*.*"))]
    texts = {path: path.read_text() for path in files if path.is_file() and path.suffix != ".pyc"}
    assert README in texts
    assert [str(path) for path, text in texts.items() if _FROM_AN_INDEX.search(text)] == []
