"""Writes the tables of options into README.md, from the settings: `python -m tests.readme`."""

from __future__ import annotations

import re
from pathlib import Path

from pog.config.client_settings import ClientSettings
from pog.config.server_settings import ServerSettings
from pog.config.settings import CommonSettings, markdown

README = Path(__file__).parent.parent / "README.md"


def with_tables(text: str) -> str:
    """The text with every table between its two marks as it has to be."""
    for cls in (CommonSettings, ServerSettings, ClientSettings):
        begin, end = f"<!-- {cls.__name__} -->\n", "<!-- end -->"
        table = f"{begin}\n{markdown(cls)}\n{end}"
        text, count = re.subn(rf"{re.escape(begin)}.*?{end}", table.replace("\\", r"\\"), text, flags=re.DOTALL)
        assert count == 1, f"README.md has no place for {cls.__name__}"
    return text


if __name__ == "__main__":
    README.write_text(with_tables(README.read_text()))
