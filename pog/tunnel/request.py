"""The words between fronts and exits: a front makes a TunnelRequest, an exit answers it with a Tunnel or a Failure.

No exit knows HTTP or SOCKS, no front knows gRPC, and nobody parses a text.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from pog.errors import Failure
    from pog.net.address import Destination
    from pog.tunnel.ended import Ended


@dataclass(frozen=True, slots=True)
class User:
    """Who asks for a tunnel, as the credentials say."""

    name: str


# The user where no credentials are wanted; the Go original has the same word in its log.
ANONYMOUS = User("anonymous")


class TunnelRequest(NamedTuple):
    """One request for a tunnel. `front` is the name of the protocol that it came by, `remote` the address that it came
    from, as logs show it."""

    destination: Destination
    user: User
    front: str
    remote: str


def unheard(how: Ended) -> None:
    """For an exit that does not want to know how its tunnels end."""


@dataclass(slots=True)
class Tunnel:
    """An open tunnel: the transport of its payload, and the name of the exit that it goes through. `on_end` is to be
    called once, when the relay that it was given to has ended.

    These may be exchanged for those of another exit while no byte has come down.
    """

    transport: asyncio.Transport
    exit: str
    on_end: Callable[[Ended], None] = unheard
    # By which rule, and why this exit and no other; empty where there is no choice.
    rule: str = ""
    reason: str = ""
    # The exit itself, where there is a choice: around a reload there may be two of one name.
    through: object = None


class Attempt(Protocol):
    """A tunnel on its way."""

    def cancel(self) -> None:
        """Gives it up: `done` is not called any more."""


@runtime_checkable
class EagerAttempt(Attempt, Protocol):
    """An attempt that can send something before it is answered (fast open)."""

    def write(self, data: bytes) -> None:
        """The user's first bytes, to go with the request. The attempt keeps them for a second try, so they have to be
        few; the caller sees to that."""


class Exit(Protocol):
    """A way out: one pog server, this machine itself, or a choice among several."""

    def open(self, request: TunnelRequest, done: Callable[[Tunnel | Failure], None]) -> Attempt:
        """Begins to open a tunnel; `done` is called once, perhaps within this call, unless the attempt is cancelled."""
