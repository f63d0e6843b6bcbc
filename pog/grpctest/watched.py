"""Knows whether a protocol's connection is open."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Generic, TypeVar, cast

if TYPE_CHECKING:
    from pog.grpctest.leftovers import Live

P = TypeVar("P", bound=asyncio.Protocol)


class Watched(asyncio.Protocol, Generic[P]):
    """Stands between a transport and `inner`, and is in `live` while the connection is open."""

    transport: asyncio.Transport

    def __init__(self, inner: P, live: Live, name: str) -> None:
        self.inner = inner
        self._live = live
        self._name = name
        self.data_received = inner.data_received  # type: ignore[method-assign]
        self.eof_received = inner.eof_received  # type: ignore[method-assign]
        self.pause_writing = inner.pause_writing  # type: ignore[method-assign]
        self.resume_writing = inner.resume_writing  # type: ignore[method-assign]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not checked: uvloop's transports are none of asyncio's classes.
        self.transport = cast("asyncio.Transport", transport)
        self._live.add(self, self._name)
        self.inner.connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._live.remove(self)
        self.inner.connection_lost(exc)
