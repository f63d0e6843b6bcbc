"""A throw-away certificate for loopback, and both sides' settings for it."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from functools import cache

from pog.grpctest.transports import MissingExtra

NAMES = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class Certificate:
    """`server` presents it; `client` trusts it and nothing else, as does a client that is given `ca_pem`."""

    server: ssl.SSLContext
    client: ssl.SSLContext
    ca_pem: bytes


@cache
def throw_away() -> Certificate:
    """One for the process. Raises MissingExtra without trustme."""
    try:
        import trustme
    except ImportError:
        raise MissingExtra("The transport 'tls'", "trustme") from None
    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(*NAMES).configure_cert(server)
    client = ssl.create_default_context(ssl.Purpose.SERVER_AUTH)
    authority.configure_trust(client)
    for context in (server, client):
        context.set_alpn_protocols(["h2"])
    return Certificate(server, client, authority.cert_pem.bytes())
