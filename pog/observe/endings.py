"""The two programs, and who ends a tunnel in the words of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pog.tunnel.ended import Reason, Side

if TYPE_CHECKING:
    from pog.tunnel.relay import Relay

Role = Literal["server", "client"]

# By the sides of a relay; "pog" is this program itself.
ENDED_BY: dict[Role, dict[Side, str]] = {
    "server": {Side.LOCAL: "destination", Side.TUNNEL: "client", Side.RELAY: "pog"},
    "client": {Side.LOCAL: "user", Side.TUNNEL: "server", Side.RELAY: "pog"},
}
CANCELLED = Reason.CANCELLED.value


def ending(role: Role, relay: Relay) -> tuple[str, str]:
    """By whom a relay was ended, and why."""
    how = relay.ended
    if how is None:
        return ENDED_BY[role][Side.RELAY], CANCELLED
    return ENDED_BY[role][how.side], how.reason.value


def up_and_down(role: Role, from_local: int, from_tunnel: int) -> tuple[int, int]:
    """What went from the user to the destination, and what came back."""
    return (from_local, from_tunnel) if role == "client" else (from_tunnel, from_local)
