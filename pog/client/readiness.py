"""One question to a running client: can it open tunnels? Its page /readyz knows.

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
_REQUEST = b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
_ANSWER = re.compile(rb"HTTP/1\.[01] ([0-9]{3})\b.*?\r\n\r\n(.*)", re.DOTALL)
# The answer is one line of text.
_MOST_BYTES = 64 * 1024


async def readiness(endpoint: Endpoint, *, verify: bool, limit: float) -> tuple[bool, str]:
    """Whether the client at `endpoint` has an exit to send tunnels to, and what it says. `verify`: its certificate, if
    it has one. Raises PogError when there is no such answer within `limit` seconds."""
    try:
        async with asyncio.timeout(limit):
            data = await _ask(endpoint, verify)
    except TimeoutError:
        raise PogError(f"no answer from {endpoint} within {limit:g} s") from None
    except OSError as error:
        raise PogError(f"{endpoint}: {strerror(error)}") from None
    answer = _ANSWER.match(data)
    if answer is None or answer[1] not in (b"200", b"503"):
        got = f"HTTP status {answer[1].decode()}" if answer else "not HTTP"
        raise PogError(f"{endpoint} does not say whether it is ready ({got}); is it a pog client?")
    return answer[1] == b"200", " ".join(answer[2].decode("utf-8", "replace").split())


async def _ask(endpoint: Endpoint, verify: bool) -> bytes:
    context = _context(verify) if endpoint.tls else None
    if isinstance(endpoint.at, UnixPath):
        name = "localhost" if context else None
        reader, writer = await asyncio.open_unix_connection(endpoint.at.path, ssl=context, server_hostname=name)
    else:
        reader, writer = await asyncio.open_connection(endpoint.at.host, endpoint.at.port, ssl=context)
    try:
        writer.write(_REQUEST)
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
