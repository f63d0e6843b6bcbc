"""How a tunnel ended, as data. [pure]"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Reason(enum.Enum):
    """Why a tunnel ended."""

    DONE = "done"
    RESET = "reset"
    IDLE = "idle"
    HALF_CLOSED = "half_closed"
    STOPPED = "stopped"
    CANCELLED = "cancelled"


class Side(enum.Enum):
    """Which end of the relay made it end."""

    LOCAL = "local"
    TUNNEL = "tunnel"
    RELAY = "relay"


class State(enum.Enum):
    """How far an open tunnel is: both directions, one direction, or only what is still buffered."""

    OPEN = "open"
    HALF_CLOSED = "half_closed"
    CLOSING = "closing"


@dataclass(frozen=True, slots=True)
class Ended:
    """How a relay ended, and which side made it end: of two that were done, the first. The counts are bytes that
    arrived from either end."""

    reason: Reason
    side: Side
    error: Exception | None
    from_local: int
    from_tunnel: int
