"""Opens one HTTP/2 connection to a server: resolve, race the addresses, pass a proxy on the way, TLS, SETTINGS."""

from __future__ import annotations

import asyncio
import logging
import re
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from pog.client.exits.tls import client_context
from pog.config.exits import Via
from pog.config.parsers import split_authority
from pog.errors import ExitUnavailable, FailureKind, LimitReached, SettingsError
from pog.http2.config import SessionConfig
from pog.http2.session import Session
from pog.net.connect import connect_socket, strerror
from pog.net.pins import pin_of_der
from pog.net.resolve import is_exhausted

if TYPE_CHECKING:
    import socket

    from pog.client.exits.via import Handshake
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
    sock = await _dial(target, resolver)
    try:
        if target.via is not None:
            # h11 is imported only where it is needed: `pog health` in a container starts every few seconds.
            from pog.client.exits.via import handshake

            await _pass(sock, target.via, handshake(target.via, target.host, target.port))
        return await _start_session(target, sock, owner)
    except BaseException:
        sock.close()
        raise


async def _dial(target: Target, resolver: Resolver) -> socket.socket:
    """A connection to the server, or to the proxy on the way."""
    via = target.via
    host, port = (target.host, target.port) if via is None else (via.address.host, via.address.port)
    whose = "" if via is None else f"the proxy {via}: "
    try:
        found = await resolver.resolve(host, port)
    except LimitReached as error:
        raise ExitUnavailable(f"{whose}{host} cannot be looked up: {error}", FailureKind.LIMIT) from None
    except (OSError, UnicodeError) as error:
        raise ExitUnavailable(f"{whose}{host} has no address: {strerror(error)}") from None
    try:
        return await connect_socket(found)
    except OSError as error:
        kind = FailureKind.LIMIT if is_exhausted(error) else FailureKind.EXIT_UNAVAILABLE
        raise ExitUnavailable(f"{whose}{strerror(error)}", kind) from None


async def _pass(sock: socket.socket, via: Via, handshake: Handshake) -> None:
    """Carries a handshake with the proxy out."""
    loop = asyncio.get_running_loop()
    try:
        data, wanted = next(handshake)
        while True:
            await loop.sock_sendall(sock, data)
            got = b""
            while len(got) < wanted and (part := await loop.sock_recv(sock, wanted - len(got))):
                got += part
            try:
                data, wanted = handshake.send(got)
            except StopIteration:
                return
    except OSError as error:
        raise ExitUnavailable(f"the proxy {via}: {strerror(error)}") from None


async def _start_session(target: Target, sock: socket.socket, owner: Owner) -> Session:
    loop = asyncio.get_running_loop()
    settings_received: asyncio.Future[None] = loop.create_future()

    def room(session: Session) -> None:
        if not settings_received.done():
            settings_received.set_result(None)
        owner.stream_ended()

    def session() -> Session:
        return Session(
            client=True,
            config=target.session,
            on_stream_end=room,
            on_draining=owner.draining,
            on_closed=owner.lost,
        )

    name = target.server_name if target.tls is not None else None
    try:
        transport, started = await loop.create_connection(session, sock=sock, ssl=target.tls, server_hostname=name)
    except ssl.SSLCertVerificationError as error:
        raise ExitUnavailable(f"the server's certificate is not good for {name}: {error.verify_message}") from None
    except OSError as error:
        raise ExitUnavailable(f"no TLS with the server: {strerror(error)}") from None
    try:
        if target.pins:
            _check_pin(target.pins, transport)
        await asyncio.wait((settings_received, started.closed), return_when=asyncio.FIRST_COMPLETED)
    except BaseException:
        started.abort("given up")
        raise
    if started.closed.done():
        raise ExitUnavailable(f"the server does not speak HTTP/2 here: {started.closed.result()}")
    return started


def _check_pin(pins: tuple[str, ...], transport: asyncio.BaseTransport) -> None:
    """Before any call, which brings credentials. Raises ExitUnavailable."""
    certificate: bytes = transport.get_extra_info("ssl_object").getpeercert(binary_form=True)
    try:
        presented = pin_of_der(certificate)
    except ValueError as error:
        raise ExitUnavailable(f"the server's certificate cannot be read: {error}") from None
    if presented not in pins:
        raise ExitUnavailable(f"the server has another key than SERVER_FINGERPRINT says: {presented}")
