"""Exits and rules are read again: at SIGHUP, and when the configuration file has changed. Live tunnels go on."""

from __future__ import annotations

import logging
import sys
from functools import partial
from typing import TYPE_CHECKING

from pog.client.exits.kinds import replace_exits
from pog.config.client_settings import ClientSettings
from pog.config.settings import table
from pog.errors import SettingsError
from pog.process.changes import FileWatch
from pog.process.sighup import at_sighup

if TYPE_CHECKING:
    from collections.abc import Callable

    from pog.client.exits.routed import RoutedExit
    from pog.config.client import Loaded
    from pog.observe.metrics import Metrics
    from pog.tunnel.live import Tunnels

log = logging.getLogger(__name__)


class Reload:
    """`load` reads flags, variables and file again."""

    def __init__(
        self,
        settings: ClientSettings,
        exit: RoutedExit,
        load: Callable[[], Loaded],
        metrics: Metrics,
        tunnels: Tunnels,
    ) -> None:
        self._settings = settings
        self._exit = exit
        self._load = load
        self._metrics = metrics
        self._tunnels = tunnels

    def read(self, why: str) -> None:
        """A file that cannot be used changes nothing, and the log says why."""
        try:
            loaded = self._load()
            replace_exits(self._exit, loaded.settings, self._metrics, self._tunnels)
        except SettingsError as error:
            log.error("%s: exits and rules stay as they were: %s", why, error)
            return
        for note in loaded.notes:
            log.warning("%s", note)
        exits, rules = ", ".join(self._exit.members), len(loaded.settings.rules) - 1
        log.info("%s: exits and rules from %s: %s; rules: %d", why, loaded.path, exits, rules)
        changed = [row.flag for name, row in table(ClientSettings) if self._differs(name, loaded.settings)]
        if changed:
            log.warning("%s: these settings take effect at the next start: %s", why, ", ".join(changed))

    def _differs(self, name: str, now: ClientSettings) -> bool:
        """But for the items of a file, which are read again elsewhere."""
        return name != "auth_file" and getattr(self._settings, name) != getattr(now, name)


def reload_exits(
    settings: ClientSettings, exit: RoutedExit, load: Callable[[], Loaded], metrics: Metrics, tunnels: Tunnels
) -> Callable[[], None]:
    """Until the returned function is called. Needs a running loop."""
    reload = Reload(settings, exit, load, metrics, tunnels)
    watch = FileWatch(settings.config, partial(reload.read, "the file has changed"))

    def hang_up() -> None:
        watch.read()
        reload.read("SIGHUP")

    # A terminal sends the signal when its window is closed: then the client ends. A changed file is noticed anyway.
    at_terminal = sys.stdin is not None and sys.stdin.isatty()
    forget = at_sighup(hang_up) if not at_terminal else lambda: None

    def end() -> None:
        forget()
        watch.close()

    return end
