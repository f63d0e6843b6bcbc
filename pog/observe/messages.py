"""Messages of pog and of the libraries: their format, and their way to standard error without blocking."""

from __future__ import annotations

import logging
from contextlib import suppress

from pog.observe.jsonlog import JsonFormatter
from pog.process.output import STDERR


class MessageHandler(logging.Handler):
    """Writes each message as a line. A line that the reader does not take is dropped and counted (STDERR.dropped)."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record) + "\n"
        except Exception:
            self.handleError(record)
            return
        with suppress(OSError, ValueError):  # a full disk, or no reader: the program goes on
            STDERR.write(line)


def always(logger: logging.Logger, level: int, text: str) -> None:
    """Writes a message whatever LOG_LEVEL says."""
    file, line, function, _ = logger.findCaller(stacklevel=2)
    logger.handle(logger.makeRecord(logger.name, level, file, line, text, (), None, function))


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
