"""The one registry of tunnels: those that are being opened, those that are open, and what those before them moved.

The log, the metrics, the drain and the pages read it; nobody else keeps a set of tunnels.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pog.errors import Failure
    from pog.net.address import Destination
    from pog.tunnel.relay import Relay
    from pog.tunnel.request import Tunnel, User


@dataclass(slots=True, eq=False)
class TunnelRecord:
    """One request for a tunnel, filled in on its way.

    `asked` is what was given in the place of a destination and is none. `front` is the protocol that it came by. `code`
    is HTTP's status on the client and gRPC's, as Go names it, on the server; `status` is HTTP's on both, 0 while
    unknown. `metadata` is where a trace may be. `began` is a reading of time.perf_counter, `since` of time.time;
    `opened_after` is in seconds.
    """

    remote: str
    front: str = ""
    destination: Destination | None = None
    user: User | None = None
    tunnel: Tunnel | None = None
    code: str = ""
    status: int = 0
    failure: Failure | None = None
    metadata: Mapping[str, Any] | None = None
    relay: Relay | None = None
    opened_after: float | None = None
    asked: str = ""
    began: float = field(default_factory=time.perf_counter)
    # Once it is open: a number of its own within this program.
    id: int = 0

    @property
    def exit(self) -> str:
        """The name of the exit that it goes through, while that is known: it may change until a byte has come down."""
        if self.tunnel is not None:
            return self.tunnel.exit
        return self.failure.exit if self.failure is not None else ""

    @property
    def rule(self) -> str:
        """What chose the exit; empty where there is no choice."""
        if self.tunnel is not None:
            return self.tunnel.rule
        return self.failure.rule if self.failure is not None else ""

    @property
    def destination_text(self) -> str:
        return str(self.destination) if self.destination is not None else self.asked or "-"

    @property
    def user_text(self) -> str:
        return self.user.name if self.user is not None else "-"

    @property
    def error_text(self) -> str:
        return self.failure.text if self.failure is not None else ""

    @property
    def since(self) -> float:
        return time.time() - (time.perf_counter() - self.began)


class Tunnels:
    """All tunnels of one program. Iterating gives the records of the open ones."""

    def __init__(self) -> None:
        self.opening = 0
        self._open: set[TunnelRecord] = set()
        self._last_id = 0
        # Bytes that the relays which have ended had received from either side.
        self.ended_from_local = 0
        self.ended_from_tunnel = 0

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[TunnelRecord]:
        return iter([*self._open])

    def end_through(self, exit: object) -> int:
        """Ends the open ones whose `Tunnel.through` is this exit, as the local interface ends one: the user's end is
        reset. Gives their number."""
        found = [each for each in self._open if each.tunnel is not None and each.tunnel.through is exit]
        for record in found:
            assert record.relay is not None
            if record in self._open:  # one may have ended with another, of the same user's connection
                record.relay.stop()
        return len(found)

    def add(self, record: TunnelRecord) -> None:
        """Its tunnel is open; `record.relay` is there."""
        self._last_id += 1
        record.id = self._last_id
        self._open.add(record)

    def remove(self, record: TunnelRecord) -> None:
        """Its tunnel has ended. Once for every `add`."""
        assert record.relay is not None
        self._open.remove(record)
        self.ended_from_local += record.relay.from_local
        self.ended_from_tunnel += record.relay.from_tunnel
