"""The file of auth items is read again at SIGHUP."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING

from pog.config.auth_items import ItemFile
from pog.errors import SettingsError
from pog.process.sighup import at_sighup

if TYPE_CHECKING:
    from collections.abc import Callable

    from pog.auth.check import Authenticator
    from pog.config.settings import Guarded

log = logging.getLogger("pog")


def reload_auth(
    settings: Guarded, authenticator: Authenticator, done: Callable[[], None] = lambda: None
) -> Callable[[], None]:
    """Reads the file of auth items again at every SIGHUP, until the returned function is called. Needs a running loop.

    `done` is called when there are new items.

    A file that cannot be used changes nothing. A program without a file goes on too, unless a terminal sends the
    signal: its window was closed.
    """

    def read() -> None:
        if settings.auth_file is None:
            log.info("SIGHUP: there is no file of auth items to read again")
            return
        try:
            file = ItemFile.read(settings.auth_file.path)
        except SettingsError as error:
            log.error("SIGHUP: the auth items stay as they were: %s", error)
            return
        authenticator.replace(settings.auth + file.items)
        log.info("SIGHUP: %d auth items from %s, %d from variables", len(file.items), file, len(settings.auth))
        done()

    if settings.auth_file is None and sys.stdin is not None and sys.stdin.isatty():
        return lambda: None
    return at_sighup(read)
