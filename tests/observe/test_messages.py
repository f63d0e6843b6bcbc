"""Messages of programs. That they hold nobody up is shown in tests/process/test_output.py and e2e/test_stdio.py."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from pog.observe.messages import set_up_logging

if TYPE_CHECKING:
    import pytest


def test_libraries_never_log_what_they_decode(capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    try:
        root.handlers.clear()
        set_up_logging("debug")
        logging.getLogger("hpack.hpack").debug("authorization: Basic c2VjcmV0")
        logging.getLogger("pog.server").debug("here")
        logging.getLogger("hypercorn").warning("there")
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        logging.getLogger("pog").setLevel(logging.NOTSET)
    errors = capsys.readouterr().err
    assert "c2VjcmV0" not in errors
    assert "DEBUG pog.server: here\n" in errors
    assert "WARNING hypercorn: there\n" in errors
