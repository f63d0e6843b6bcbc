"""What the client's own port shows: /metrics, and a short page that says what this is.

No credentials are asked, as in the original, so that a Prometheus needs none.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Protocol

import pog
from pog.errors import PogError
from pog.front.http1 import PageRequest, answer
from pog.observe.metrics import wants_openmetrics

if TYPE_CHECKING:
    from pog.observe.metrics import Metrics

log = logging.getLogger(__name__)

_TEXT = "text/plain; charset=utf-8"
# How long the server may take for its metrics; Prometheus gives up after 10 s. Seconds.
_FETCH_TIMEOUT = 5.0


class Origin(Protocol):
    """The server's own pages."""

    async def fetch(self, path: str) -> tuple[int, bytes | None]:
        """Status and content of a GET; None for content that breaks off. Raises PogError."""


class Pages:
    """`server` is where to fetch the server's metrics, to append them to ours; None: they are not appended."""

    def __init__(self, metrics: Metrics, server: Origin | None) -> None:
        self._metrics = metrics
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
        """Ours, and while a tunnel is open the server's behind them; then never as OpenMetrics, which ends with EOF."""
        if self._server is None:
            return self._metrics.render(wants_openmetrics(accept))
        body, content_type = self._metrics.render()
        if self._metrics.open_tunnels == 0:
            return body, content_type
        return body + await self._server_metrics(self._server), content_type

    async def _server_metrics(self, server: Origin) -> bytes:
        try:
            async with asyncio.timeout(_FETCH_TIMEOUT):
                status, body = await server.fetch("/metrics")
        except TimeoutError:
            return self._failed("GET", f"nothing within {_FETCH_TIMEOUT:g} s")
        except PogError as error:
            return self._failed("GET", str(error))
        if status // 100 != 2:
            return self._failed("not_2XX", f"status {status}")
        if body is None:
            return self._failed("copy", "the answer broke off")
        self._metrics.mux_errors("ok")
        return body

    def _failed(self, name: str, reason: str) -> bytes:
        self._metrics.mux_errors(name)
        log.warning("cannot append the server's metrics: %s", reason)
        return b""


_ABOUT = f"""pog {pog.__version__}, client

This port is an HTTP proxy. Programs use it like this:

    curl --proxytunnel --proxy http://HOST:PORT https://example.com/
    chromium --proxy-server=http://HOST:PORT

It takes CONNECT; the bytes travel through gRPC to the server, which connects to the destination.
Metrics are at /metrics.
"""
