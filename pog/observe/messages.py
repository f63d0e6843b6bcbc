"""Messages of pog and of the libraries: their form, and how they go to standard error without holding anybody up."""

from __future__ import annotations

import logging
from contextlib import suppress

from pog.observe.jsonlog import JsonFormatter
from pog.process.output import STDERR


class MessageHandler(logging.Handler):
    """Writes each message as a line; one that nobody reads is dropped, and counted there (STDERR.dropped)."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record) + "\n"
        except Exception:
            self.handleError(record)
            return
        with suppress(OSError, ValueError):  # a full disk, or nobody is there: of no concern to what serves
            STDERR.write(line)


def set_up_logging(level: str, style: str = "line") -> None:
    """Messages of pog to standard error. Libraries speak from warning on: hpack's debug messages hold credentials."""
    handler = MessageHandler()
    if style == "json":
        handler.setFormatter(JsonFormatter())
        logging.captureWarnings(True)
    else:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s", "%Y/%m/%d %H:%M:%S"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("pog").setLevel(level.upper())
