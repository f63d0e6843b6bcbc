"""Whether a server without auth items opens tunnels.

listener                              opens tunnels
every one on loopback                 yes: only programs on this machine connect to it
any other, or one that is not known   no: calls end with UNAUTHENTICATED; pages and health are served
any, with POG_OPEN=1                  yes

What counts is where the server listens, never a peer's address or that of one connection: behind a proxy on the same
machine both are 127.0.0.1. Nor is a Unix domain socket loopback here: what connects to it is such a proxy.
"""

from __future__ import annotations

import logging
import socket
from typing import TYPE_CHECKING

from pog.errors import Failure, FailureKind
from pog.net.address import Address, UnixPath
from pog.observe.messages import always

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pog.config.server_settings import ServerSettings

    Place = Address | UnixPath

log = logging.getLogger("pog.server")

CLOSED = Failure(
    FailureKind.CREDENTIALS,
    "this server has no users and opens no tunnels: set POG_AUTH_* there (`pog auth new NAME` makes an item), or"
    " POG_OPEN=1 for a server that is open to everybody",
)


class Listening:
    """Where the servers of a process listen. `on_added` is called with each new place."""

    def __init__(self) -> None:
        self._places: list[Place] = []
        self.on_added: Callable[[Place], None] = lambda _place: None
        self.only_loopback = False

    def add(self, sock: socket.socket) -> Place:
        """`sock` listens; the result is for `remove`."""
        place = _place(sock)
        self._places.append(place)
        self.only_loopback = all(map(_is_loopback, self._places))
        self.on_added(place)
        return place

    def remove(self, place: Place) -> None:
        """A socket is closed. Its connections may go on, so that opens nothing."""
        self._places.remove(place)


# Of Hypercorn in this process, however it was started.
HERE = Listening()


def _place(sock: socket.socket) -> Place:
    name = sock.getsockname()
    return Address(*name[:2]) if sock.family in (socket.AF_INET, socket.AF_INET6) else UnixPath(str(name))


def _is_loopback(place: Place) -> bool:
    return isinstance(place, Address) and place.is_loopback


def warn_of_openness(settings: ServerSettings, places: Sequence[Place]) -> None:
    """Says at the start whom a server without auth items lets in. Without places: where it listens is not known yet."""
    if settings.auth_items:
        if settings.open_proxy:
            log.warning("POG_OPEN=1 has no effect: there are auth items, and calls need a login")
        return
    exposed = ", ".join(str(each) for each in places if not _is_loopback(each))
    shown = ", ".join(map(str, places))
    if settings.open_proxy:
        where = f" on {shown}" if shown else ""
        always(log, logging.WARNING, f"OPEN PROXY{where}: POG_OPEN=1 is set: anyone who can reach it may use it")
    elif exposed:
        log.warning(
            "CLOSED: no POG_AUTH_* is set and %s is not loopback, so every tunnel is refused; set POG_AUTH_* (`pog auth"
            " new NAME` makes an item), or POG_OPEN=1 for a server that is open to everybody",
            exposed,
        )
    elif shown:
        log.warning(
            "no POG_AUTH_* is set: any program on this machine may open tunnels on %s; if a proxy in front of this port"
            " faces the network, set POG_AUTH_*",
            shown,
        )
