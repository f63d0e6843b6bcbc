"""Opens one HTTP/2 connection to a server: resolve, race the addresses, pass a proxy on the way, TLS, SETTINGS."""

from __future__ import annotations

import asyncio
import logging
import re
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from pog.client.exits import mismatch
from pog.client.exits.tls import client_context
from pog.client.exits.way import dial
from pog.config.exits import Via
from pog.config.parsers import split_authority
from pog.errors import ExitUnavailable, FailureKind, SettingsError
from pog.http2.config import SessionConfig
from pog.http2.session import Session
from pog.net.pins import pin_of_der

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable

    from pog.config.exits import ServerExit
    from pog.net.resolve import Resolver

log = logging.getLogger(__name__)

# A connection that was silent is probed with the next request; after a laptop's sleep it is dead, and somebody waits
# for the page. Seconds.
_PROBE_TIMEOUT = 10.0


@dataclass(frozen=True, slots=True)
class Target:
    """Where a server is and how to speak to it. `tls` is None for cleartext HTTP/2, `via` a proxy on the way."""

    host: str
    port: int
    authority: str
    tls: ssl.SSLContext | None
    pins: tuple[str, ...]
    server_name: str
    timeout: float
    session: SessionConfig
    via: Via | None = None

    @property
    def scheme(self) -> str:
        return "http" if self.tls is None else "https"

    @classmethod
    def of(cls, exit: ServerExit) -> Target:
        """SERVER_HOST is the :authority and the name in the certificate, as with grpc-go's WithAuthority.

        Raises SettingsError when the authorities that should be trusted cannot be read, and for pins without TLS.
        """
        if exit.insecure and (exit.ca_file or exit.fingerprint):
            raise SettingsError(f"exit {exit.name}", "is without TLS (INSECURE), so no certificate can be checked")
        # A pin alone stands for authority, name and dates; with SERVER_CA_FILE it is asked for besides.
        verify = not exit.skip_verify and (bool(exit.ca_file) or not exit.fingerprint)
        address = exit.server
        authority = exit.authority or str(address)
        return cls(
            host=address.host,
            port=address.port,
            # RFC 4007 section 6: the zone of an IPv6 address means something on this machine only.
            authority=re.sub(r"%[^\]]*", "", authority),
            tls=None if exit.insecure else client_context(verify=verify, ca_file=exit.ca_file),
            pins=exit.fingerprint,
            server_name=_server_name(authority),
            timeout=exit.connect_timeout,
            session=SessionConfig(keepalive=exit.keepalive, keepalive_timeout=_PROBE_TIMEOUT),
            via=exit.via if isinstance(exit.via, Via) else None,
        )


def _server_name(authority: str) -> str:
    """The name that the certificate must have, and the one to ask for.

    RFC 6066 section 3: without the dot behind an absolute name, which no certificate has either (RFC 5280 4.2.1.6).
    """
    host, _ = split_authority(authority)
    return host.partition("%")[0].removesuffix(".")


class Owner(Protocol):
    """Gets the later events of a connection."""

    def stream_ended(self) -> None:
        """There may be room for another stream."""

    def draining(self, session: Session) -> None:
        """The server has sent GOAWAY."""

    def lost(self, session: Session, reason: str) -> None:
        """The connection is closed."""


async def connect(target: Target, owner: Owner, resolver: Resolver) -> Session:
    """A connection whose server has sent its SETTINGS. Raises ExitUnavailable, whose text says what failed.

    Only the SETTINGS prove that the other side speaks HTTP/2, and they tell how many streams it takes.
    """
    try:
        async with asyncio.timeout(target.timeout):
            return await _connect(target, owner, resolver)
    except ExitUnavailable:
        raise
    except TimeoutError:
        raise ExitUnavailable(f"no connection within {target.timeout:g} s") from None
    except Exception as error:
        log.debug("unforeseen failure of a dial", exc_info=True)
        raise ExitUnavailable(" ".join(f"{type(error).__name__}: {error}".split())) from error


async def _connect(target: Target, owner: Owner, resolver: Resolver) -> Session:
    if target.tls is not None:
        # A name that cannot be asked for fails here; in uvloop's handshake it would be a traceback in the log.
        target.tls.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname=target.server_name)

    def reach() -> Awaitable[socket.socket]:
        return dial(target.host, target.port, target.via, resolver)

    sock = await reach()
    try:
        return await _start_session(target, sock, owner, reach)
    except BaseException:
        sock.close()
        raise


async def _start_session(
    target: Target, sock: socket.socket, owner: Owner, reach: Callable[[], Awaitable[socket.socket]]
) -> Session:
    loop = asyncio.get_running_loop()
    settings_received: asyncio.Future[None] = loop.create_future()

    def room(session: Session) -> None:
        if not settings_received.done():
            settings_received.set_result(None)
        owner.stream_ended()

    session = Session(
        client=True,
        config=target.session,
        on_stream_end=room,
        on_draining=owner.draining,
        on_closed=owner.lost,
    )
    first = mismatch.FirstBytes(session)
    name = target.server_name if target.tls is not None else None
    try:
        transport, _ = await loop.create_connection(lambda: first, sock=sock, ssl=target.tls, server_hostname=name)
    except ssl.SSLCertVerificationError as error:
        raise mismatch.certificate(name, error) from None
    except OSError as error:
        raise await mismatch.no_tls(error, reach) from None
    try:
        if target.pins:
            _check_pin(target.pins, transport)
        await asyncio.wait((settings_received, session.closed), return_when=asyncio.FIRST_COMPLETED)
    except BaseException:
        session.abort("given up")
        raise
    if session.closed.done():
        reason, tls = session.closed.result(), target.tls is not None
        raise await mismatch.no_http2(
            reason, first.first, tls=tls, alpn=first.alpn, dial=reach, name=target.server_name
        )
    return session


def _check_pin(pins: tuple[str, ...], transport: asyncio.BaseTransport) -> None:
    """Before any call, which brings credentials. Raises ExitUnavailable."""
    certificate: bytes = transport.get_extra_info("ssl_object").getpeercert(binary_form=True)
    try:
        presented = pin_of_der(certificate)
    except ValueError as error:
        text = f"the server's certificate cannot be read: {error}"
        raise ExitUnavailable(text, FailureKind.EXIT_CERTIFICATE) from None
    if presented not in pins:
        text = f"the server has another key than SERVER_FINGERPRINT says: {presented}"
        raise ExitUnavailable(text, FailureKind.EXIT_CERTIFICATE)
