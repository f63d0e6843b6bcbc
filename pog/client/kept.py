"""The tunnels that one user's connection keeps for its next plain HTTP requests."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from pog.process.timers import Timer, after

if TYPE_CHECKING:
    from pog.client.upstream import Upstream
    from pog.net.address import Destination
    from pog.tunnel.request import User

_MOST = 4
# Shorter than servers wait for another request (Node, Apache and uvicorn 5 s, nginx 75 s), so that they rarely close
# while one is on its way. Seconds.
KEPT_FOR = 4.0
# A server that closes earlier than this says so in its answer. Seconds.
_SURELY_OPEN = 1.0


class _Kept(NamedTuple):
    upstream: Upstream
    timer: Timer
    since: float


class KeptTunnels:
    """Each is for one destination and one user: an exit or a rule may depend on both."""

    __slots__ = ("_kept",)

    def __init__(self) -> None:
        # The oldest first.
        self._kept: dict[tuple[Destination, User | None], _Kept] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def keep(self, upstream: Upstream) -> None:
        older = self._kept.get(_key(upstream))
        if older is None and len(self._kept) >= _MOST:
            older = next(iter(self._kept.values()))
        if older is not None:
            self.close(older.upstream)
        timer = after(KEPT_FOR, lambda: self.close(upstream))
        self._kept[_key(upstream)] = _Kept(upstream, timer, time.perf_counter())

    def take(self, destination: Destination, user: User, *, repeatable: bool) -> Upstream | None:
        """A request that is not `repeatable` must not meet a tunnel that closes: it gets one that is surely open."""
        kept = self._kept.get((destination, user))
        if kept is None or not (repeatable or time.perf_counter() - kept.since < _SURELY_OPEN):
            return None
        self._forget(kept.upstream)
        return kept.upstream

    def close(self, upstream: Upstream) -> None:
        """It has ended, or has said something that nobody asked for, or waited long enough."""
        self._forget(upstream)
        upstream.finish()

    def close_all(self) -> None:
        for kept in [*self._kept.values()]:
            self.close(kept.upstream)

    def _forget(self, upstream: Upstream) -> None:
        kept = self._kept.get(_key(upstream))
        if kept is not None and kept.upstream is upstream:
            kept.timer.cancel()
            del self._kept[_key(upstream)]


def _key(upstream: Upstream) -> tuple[Destination, User | None]:
    record = upstream.record
    assert record.destination is not None
    return record.destination, record.user
