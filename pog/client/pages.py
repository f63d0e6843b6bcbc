"""The pages of the client's own port: /metrics, and a short description.

No credentials are asked, as in the original, so that a Prometheus needs none.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Protocol

import pog
from pog.errors import PogError
from pog.front.http1 import answer
from pog.observe.exposition import merged
from pog.observe.metrics import wants_openmetrics

if TYPE_CHECKING:
    from pog.front.base import PageRequest
    from pog.observe.metrics import Metrics
    from pog.tunnel.live import Tunnels

log = logging.getLogger(__name__)

_TEXT = "text/plain; charset=utf-8"
# How long the server may take for its metrics; Prometheus gives up after 10 s. Seconds.
_FETCH_TIMEOUT = 5.0
# Distinguishes the server's series from ours of the same name.
_OF_THE_SERVER = {"end": "server"}


class Origin(Protocol):
    """The server's own pages."""

    async def fetch(self, path: str) -> tuple[int, bytes | None]:
        """Status and content of a GET; None for content that breaks off. Raises PogError."""


class Pages:
    """`server` is where to fetch the server's metrics, to append them to ours; None: they are not appended."""

    def __init__(self, metrics: Metrics, tunnels: Tunnels, server: Origin | None) -> None:
        self._metrics = metrics
        self._tunnels = tunnels
        self._server = server

    async def answer(self, request: PageRequest) -> bytes:
        """A whole HTTP/1.1 answer."""
        head_only = request.method == "HEAD"
        path = request.target.partition("?")[0]
        if path not in ("/", "/metrics"):
            return answer(404, _TEXT, b"not found; there is /metrics\n", head_only=head_only)
        if request.method not in ("GET", "HEAD"):
            return answer(405, _TEXT, b"only GET and HEAD\n", [("Allow", "GET, HEAD")], head_only)
        if path == "/":
            return answer(200, _TEXT, _ABOUT.encode(), head_only=head_only)
        body, content_type = await self._both_metrics(request.values("accept"))
        return answer(200, content_type, body, head_only=head_only)

    async def _both_metrics(self, accept: str) -> tuple[bytes, str]:
        """Ours, and while a tunnel is open the server's among them: then always as text, which every server has."""
        if self._server is None:
            return self._metrics.render(wants_openmetrics(accept))
        if not self._tunnels:
            return self._metrics.render()
        try:
            theirs = await _fetched(self._server)
            ours, content_type = self._metrics.render()
            page = _merged(ours, theirs)
        except _Missing as missing:
            self._metrics.mux_errors(missing.name)
            log.warning("cannot append the server's metrics: %s", missing)
            return self._metrics.render()
        self._metrics.mux_errors("ok")
        return page, content_type


class _Missing(Exception):
    """There are no metrics of the server's; `name` is what the original calls that in its counter."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(reason)
        self.name = name


async def _fetched(server: Origin) -> bytes:
    """The server's page. Raises _Missing."""
    try:
        async with asyncio.timeout(_FETCH_TIMEOUT):
            status, body = await server.fetch("/metrics")
    except TimeoutError:
        raise _Missing("GET", f"nothing within {_FETCH_TIMEOUT:g} s") from None
    except PogError as error:
        raise _Missing("GET", str(error)) from error
    if status // 100 != 2:
        raise _Missing("not_2XX", f"status {status}")
    if body is None:
        raise _Missing("copy", "the answer broke off")
    return body


def _merged(ours: bytes, theirs: bytes) -> bytes:
    """Raises _Missing when theirs is no page of metrics."""
    try:
        page, left_out = merged(ours, theirs, _OF_THE_SERVER)
    except ValueError as error:
        raise _Missing("copy", str(error)) from None
    if left_out:
        log.warning("of the server's metrics these are of another type than ours: %s", " ".join(left_out))
    return page


_ABOUT = f"""pog {pog.__version__}, client

This port is an HTTP proxy and a SOCKS proxy (4, 4A, 5). Programs use it like this:

    curl --proxy http://HOST:PORT https://example.com/
    curl --socks5-hostname HOST:PORT https://example.com/
    chromium --proxy-server=http://HOST:PORT

The bytes travel through gRPC to the server, which connects to the destination.
Metrics are at /metrics.
"""
