"""Questions to a running client: can it open tunnels? Its page /readyz knows. Its local interface knows more.

A container's health check asks every few seconds, so nothing is imported that it can do without.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

from pog.errors import PogError
from pog.net.address import UnixPath
from pog.net.connect import strerror

if TYPE_CHECKING:
    import ssl

    from pog.config.endpoints import Endpoint

# The client shows its pages to this name, whatever the one is by which it was found.
_REQUEST = "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{field}\r\n"
_ANSWER = re.compile(rb"HTTP/1\.[01] ([0-9]{3})\b.*?\r\n\r\n(.*)", re.DOTALL)
_MOST_BYTES = 16 * 1024 * 1024


async def readiness(endpoint: Endpoint, *, verify: bool, limit: float) -> tuple[bool, str]:
    """Whether the client at `endpoint` has an exit to send tunnels to, and what it says. `verify`: its certificate, if
    it has one. Raises PogError when there is no such answer within `limit` seconds."""
    status, body = await page(endpoint, "/readyz", verify=verify, limit=limit)
    if status not in (200, 503):
        got = f"HTTP status {status}" if status else "not HTTP"
        raise PogError(f"{endpoint} does not say whether it is ready ({got}); is it a pog client?")
    return status == 200, " ".join(body.decode("utf-8", "replace").split())


class NoClient(PogError):
    """Nothing can be connected to there."""


async def page(endpoint: Endpoint, path: str, *, verify: bool, limit: float, token: str = "") -> tuple[int, bytes]:
    """Status and content of one of the client's pages; status 0 for something else than HTTP. `token` is that of the
    local interface. Raises PogError when there is no answer within `limit` seconds, NoClient when nothing
    can be connected to."""
    field = f"Authorization: Bearer {token}\r\n" if token else ""
    request = _REQUEST.format(path=path, field=field).encode("ascii")
    try:
        async with asyncio.timeout(limit):
            data = await _ask(endpoint, verify, request)
    except TimeoutError:
        raise PogError(f"no answer from {endpoint} within {limit:g} s") from None
    except OSError as error:
        raise NoClient(f"{endpoint}: {strerror(error)}") from None
    answer = _ANSWER.match(data)
    return (int(answer[1]), answer[2]) if answer else (0, b"")


async def _ask(endpoint: Endpoint, verify: bool, request: bytes) -> bytes:
    context = _context(verify) if endpoint.tls else None
    if isinstance(endpoint.at, UnixPath):
        name = "localhost" if context else None
        reader, writer = await asyncio.open_unix_connection(endpoint.at.path, ssl=context, server_hostname=name)
    else:
        reader, writer = await asyncio.open_connection(endpoint.at.host, endpoint.at.port, ssl=context)
    try:
        writer.write(request)
        data = b""
        while len(data) < _MOST_BYTES and (part := await reader.read(_MOST_BYTES)):
            data += part
        return data
    finally:
        writer.transport.abort()


def _context(verify: bool) -> ssl.SSLContext:
    from pog.client.exits.tls import client_context

    context = client_context(verify=verify)
    context.set_alpn_protocols(["http/1.1"])
    return context
