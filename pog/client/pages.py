"""The pages of the client's own port: metrics, health, the file that sets up a browser, and a short description.

No credentials are asked, as in the original, so that a Prometheus needs none. Who is answered is own_host's to say.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Protocol

import pog
from pog.client.api import PREFIX
from pog.client.own_host import own_host
from pog.client.pac import CONTENT_TYPE, pac
from pog.client.page_answer import Page
from pog.errors import PogError, Refused
from pog.observe.exposition import merged
from pog.observe.metrics import wants_openmetrics

if TYPE_CHECKING:
    from collections.abc import Collection

    from pog.client.api import Api
    from pog.client.own_host import OwnHost
    from pog.front.base import PageRequest
    from pog.observe.metrics import Metrics
    from pog.tunnel.live import Tunnels

log = logging.getLogger(__name__)

_PAGES = ("/", "/metrics", "/healthz", "/health", "/readyz", "/proxy.pac")
_TEXT = "text/plain; charset=utf-8"
# How long the server may take for its metrics; Prometheus gives up after 10 s. Seconds.
_FETCH_TIMEOUT = 5.0
# Distinguishes the server's series from ours of the same name.
_OF_THE_SERVER = {"end": "server"}


class Origin(Protocol):
    """The server's own pages."""

    async def fetch(self, path: str) -> tuple[int, bytes | None]:
        """Status and content of a GET; None for content that breaks off. Raises PogError."""


class Way(Protocol):
    """The exit, as far as a page tells of it."""

    @property
    def problem(self) -> str:
        """Why no tunnel can be opened now; empty when one can."""


class Pages:
    """`exit` is what /readyz speaks of, `names` those under which pages are shown (PAGES_HOSTS). `server` is where to
    fetch the server's metrics, to append them to ours; None: they are not appended. `api` is the local interface."""

    def __init__(
        self,
        metrics: Metrics,
        tunnels: Tunnels,
        server: Origin | None,
        exit: Way,
        names: Collection[str] = (),
        api: Api | None = None,
    ) -> None:
        self._metrics = metrics
        self._tunnels = tunnels
        self._server = server
        self._exit = exit
        self._names = names
        self._api = api

    async def answer(self, request: PageRequest, *, tls: bool = False, local: bool = False) -> Page:
        """The page that is asked for, or one that says why there is none; with `tls` the request came by TLS, `local`
        is one from this machine."""
        try:
            here = own_host(request, self._names)
        except Refused as refused:
            log.warning("a page is not shown, Host is %s: %s", ascii(request.values("host"))[:100], refused)
            return Page(refused.failure.http_status, _TEXT, f"{refused}\n".encode())
        path = request.target.partition("?")[0]
        if self._api is not None and path.startswith(PREFIX):
            return self._api.answer(request, local=local)
        if path not in _PAGES:
            return Page(404, _TEXT, f"not found; there is {', '.join(_PAGES)}\n".encode())
        if request.method not in ("GET", "HEAD"):
            return Page(405, _TEXT, b"only GET and HEAD\n", (("Allow", "GET, HEAD"),))
        return await self._page(path, request, here, tls)

    async def _page(self, path: str, request: PageRequest, here: OwnHost | None, tls: bool) -> Page:
        match path:
            case "/metrics":
                body, content_type = await self._both_metrics(request.values("accept"))
                return Page(200, content_type, body)
            case "/readyz":
                problem = self._exit.problem
                return Page(503, _TEXT, f"{problem}\n".encode()) if problem else Page(200, _TEXT, b"ok\n")
            case "/healthz" | "/health":
                return Page(200, _TEXT, b"ok\n")
            case "/proxy.pac":
                if here is None:
                    return Page(400, _TEXT, b"the file names this proxy as Host does, and there is none\n")
                return Page(200, CONTENT_TYPE, pac(here, tls=tls, rules=self._api.rules if self._api else ()).encode())
            case _:
                return Page(200, _TEXT, _ABOUT.encode())

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

/proxy.pac   sets up a browser that is given this address for automatic configuration
/metrics     for Prometheus
/healthz     alive (also /health)
/readyz      an exit is connected
/api/        for programs on this machine: tunnels, exits, rules, explain?host=HOST
"""
