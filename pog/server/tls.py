"""The server's side of TLS: what it presents, and Hypercorn's configuration for it."""

from __future__ import annotations

import logging
import socket
from typing import TYPE_CHECKING

from hypercorn.config import Config

from pog.errors import SettingsError
from pog.net.certificate import Certificate

if TYPE_CHECKING:
    import ssl

    from pog.config.server_settings import ServerSettings

log = logging.getLogger("pog.server")

_PROTOCOLS = ("h2", "http/1.1")
# As long as a connection may take to begin to speak HTTP/2; seconds.
_HANDSHAKE_TIMEOUT = 10.0


def certificate_for(settings: ServerSettings) -> Certificate | None:
    """None for a server without TLS. Raises SettingsError."""
    if settings.tls_key and not settings.tls_cert:
        raise SettingsError("SERVER_TLS_CERT", "is not set, but SERVER_TLS_KEY is")
    if settings.tls_cert and settings.tls_self_signed:
        raise SettingsError("SERVER_TLS_SELF_SIGNED", "must not stand beside SERVER_TLS_CERT")
    if settings.tls_cert:
        return Certificate(settings.tls_cert, settings.tls_key or settings.tls_cert, _PROTOCOLS)
    if settings.tls_self_signed:
        return _self_signed(settings)
    return None


def _self_signed(settings: ServerSettings) -> Certificate:
    from pog.server.self_signed import default_path, ensure

    path = default_path()
    names = dict.fromkeys([settings.listens_at.host, "localhost", "127.0.0.1", "::1", socket.gethostname()])
    ensure(path, [name for name in names if name])
    return Certificate(path, path, _PROTOCOLS)


def say_how_to_pin(settings: ServerSettings, certificate: Certificate) -> None:
    """A client trusts no self-signed certificate that it was not told of."""
    if settings.tls_self_signed and certificate.presented is not None:
        log.warning(
            "the certificate is self-signed, its key stays in %s; clients need --server-fingerprint %s",
            certificate.chain,
            certificate.presented.pin,
        )


class TlsConfig(Config):
    """Hypercorn's configuration, with a context that exists already in place of files."""

    def __init__(self, context: ssl.SSLContext | None) -> None:
        self._context = context
        self.ssl_handshake_timeout = _HANDSHAKE_TIMEOUT

    @property
    def ssl_enabled(self) -> bool:
        return self._context is not None

    def create_ssl_context(self) -> ssl.SSLContext | None:
        return self._context
