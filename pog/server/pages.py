"""The server's pages over plain HTTP: metrics, health, and a short description."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

import pog
from pog.observe.metrics import wants_openmetrics

if TYPE_CHECKING:
    from starlette.requests import Request

    from pog.server.service import Server

_ABOUT = """\
pog server {version}: a proxy over gRPC.

Not for browsers. Run a client beside your programs and point them at it:

    SERVER_ADDR={host} {insecure}pog client
    curl -x http://127.0.0.1:18080 https://example.com/

/metrics   for Prometheus
/healthz   alive (also /health)
/readyz    takes new tunnels
"""

# For programs that were given the address of the server in place of the client's.
_NO_PROXY = "this is the pog server, which programs reach through a pog client: run pog client and use its address"


def pages(server: Server) -> Starlette:
    """The pages of one server."""

    async def about(request: Request) -> Response:
        host = request.url.netloc if request.url.port else f"{request.url.netloc}:443"
        insecure = "INSECURE=1 " if request.url.scheme == "http" and request.url.port else ""
        return PlainTextResponse(_ABOUT.format(version=pog.__version__, host=host, insecure=insecure))

    one_at_a_time = asyncio.Lock()

    async def metrics(request: Request) -> Response:
        async with one_at_a_time:
            await asyncio.sleep(0)  # one page takes about a millisecond: tunnels are served between two of them
            body, content_type = server.metrics.render(wants_openmetrics(",".join(request.headers.getlist("accept"))))
        return Response(body, headers={"content-type": content_type})

    async def alive(request: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def ready(request: Request) -> Response:
        return PlainTextResponse("draining\n", 503) if server.draining else PlainTextResponse("ok\n")

    async def nothing_here(request: Request, error: Exception) -> Response:
        if request.method == "CONNECT":
            # RFC 9110 section 9.1: 501 for a method that is not implemented. curl -v shows the field, not the content.
            return PlainTextResponse(_NO_PROXY + "\n", 501, {"proxy-status": f'pog; details="{_NO_PROXY}"'})
        return PlainTextResponse("Not Found", 404)

    app = Starlette(
        exception_handlers={404: nothing_here},
        routes=[
            Route("/", about),
            Route("/metrics", metrics),
            # Google's front end answers /healthz itself, so there is /health as well.
            Route("/healthz", alive),
            Route("/health", alive),
            Route("/readyz", ready),
        ],
    )
    # A redirect would repeat parts of the request.
    app.router.redirect_slashes = False
    return app
