"""The header fields of what a client asks its server for. [pure]"""

from __future__ import annotations

import pog
from pog.tunnel.abilities import ABILITIES_KEY, OUR_ABILITIES

USER_AGENT = f"pog/{pog.__version__}"


def call_headers(
    method: str, *, scheme: str, authority: str, authorization: str | None, abilities: bool = False
) -> list[tuple[str, str]]:
    """Of a gRPC call to `method`, such as "HTTPProxy/Run"; `abilities` announces ours."""
    headers = [
        (":method", "POST"),
        (":scheme", scheme),
        (":path", f"/{method}"),
        (":authority", authority),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
        ("user-agent", USER_AGENT),
    ]
    if abilities:
        headers.append((ABILITIES_KEY, OUR_ABILITIES))
    if authorization is not None:
        headers.append(("authorization", authorization))
    return headers


def page_headers(path: str, *, scheme: str, authority: str) -> list[tuple[str, str]]:
    """Of a GET."""
    return [
        (":method", "GET"),
        (":scheme", scheme),
        (":path", path),
        (":authority", authority),
        ("user-agent", USER_AGENT),
    ]
