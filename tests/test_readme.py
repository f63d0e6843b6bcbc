"""The README's tables say what the settings are."""

from __future__ import annotations

from tests.readme import README, with_tables


def test_the_tables_of_options_are_those_of_the_settings() -> None:
    text = README.read_text()
    assert with_tables(text) == text, "run: python -m tests.readme"
