"""Opens the endpoints at which a client listens."""

from __future__ import annotations

import logging
import socket
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pog.config.endpoints import Endpoint
from pog.errors import SettingsError
from pog.net.address import Address, UnixPath
from pog.net.certificate import Certificate
from pog.net.keepalive import keep_alive
from pog.net.listen import NOT_HERE, listening_sockets
from pog.net.unix import UnixListener

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pog.config.client_settings import ClientSettings
    from pog.net.inherited import Inherited

log = logging.getLogger(__name__)

# A socket that systemd hands over by this name (FileDescriptorName=) is an HTTPS proxy.
_TLS_NAME = "https"
# An HTTPS proxy speaks HTTP/1.1 inside; SOCKS has no name of its own.
_PROTOCOLS = ("http/1.1",)


@dataclass(frozen=True, slots=True)
class OpenEndpoint:
    """A non-blocking socket that listens, and the endpoint that it is: its port is a real one."""

    endpoint: Endpoint
    socket: socket.socket
    close: Callable[[], None]


def open_endpoints(endpoints: Sequence[Endpoint], inherited: Sequence[Inherited] = ()) -> list[OpenEndpoint]:
    """All of the endpoints, or none; sockets that were handed over take their place. Raises OSError that names one.

    Loopback of IPv6 is left out where there is no IPv6, unless it is all that was asked for.
    """
    if inherited:
        log.info("listening on %d sockets that were handed over, in place of CLIENT_LISTEN", len(inherited))
        return [_taken_over(each) for each in inherited]
    opened: list[OpenEndpoint] = []
    with ExitStack() as stack:
        for endpoint in endpoints:
            try:
                found = _open(endpoint)
            except OSError as error:
                if not (_is_loopback6(endpoint) and error.errno in NOT_HERE and len(endpoints) > 1):
                    raise
                log.info("%s", error)
                continue
            for each in found:
                stack.callback(each.close)
            opened += found
        stack.pop_all()
    return opened


def certificate_for(
    settings: ClientSettings, endpoints: Sequence[Endpoint], inherited: Sequence[Inherited]
) -> Certificate | None:
    """What the endpoints with TLS present; None without any. Raises SettingsError, also for a certificate that no
    endpoint needs: it would be taken for a proxy that is encrypted."""
    wanted = any(each.name == _TLS_NAME for each in inherited) if inherited else any(each.tls for each in endpoints)
    if wanted and not settings.tls_cert:
        raise SettingsError("CLIENT_TLS_CERT", "is not set; https:// in CLIENT_LISTEN needs it (or --tls-cert)")
    if settings.tls_key and not settings.tls_cert:
        raise SettingsError("CLIENT_TLS_CERT", "is not set, but CLIENT_TLS_KEY is")
    if settings.tls_cert and not wanted:
        raise SettingsError(
            "CLIENT_TLS_CERT", "is used by no endpoint; write one of CLIENT_LISTEN (--listen) as https://[HOST]:PORT"
        )
    if not wanted:
        return None
    return Certificate(settings.tls_cert, settings.tls_key or settings.tls_cert, _PROTOCOLS)


def _open(endpoint: Endpoint) -> list[OpenEndpoint]:
    if isinstance(endpoint.at, UnixPath):
        listener = UnixListener(endpoint.at.path)
        return [OpenEndpoint(endpoint, listener.socket, listener.close)]
    return [
        OpenEndpoint(Endpoint(_at(sock), endpoint.tls), sock, sock.close) for sock in listening_sockets(endpoint.at)
    ]


def _taken_over(inherited: Inherited) -> OpenEndpoint:
    """The file of a Unix domain socket stays: it is the parent's."""
    sock = inherited.socket
    if sock.family != socket.AF_UNIX:
        keep_alive(sock)
    return OpenEndpoint(Endpoint(_at(sock), inherited.name == _TLS_NAME), sock, sock.close)


def _at(sock: socket.socket) -> Address | UnixPath:
    name = sock.getsockname()
    return UnixPath(name) if sock.family == socket.AF_UNIX else Address(*name[:2])


def _is_loopback6(endpoint: Endpoint) -> bool:
    return isinstance(endpoint.at, Address) and endpoint.at.host == "::1"
