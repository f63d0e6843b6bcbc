"""Why there is no HTTP/2 with what listens at a server's address, in words that say what to change.

The first bytes of a peer tell what it speaks. Where none came, or OpenSSL has eaten them, the other way is tried once:
in cleartext when TLS failed, TLS when cleartext did.
"""

from __future__ import annotations

import asyncio
import enum
import ssl
from contextlib import suppress
from typing import TYPE_CHECKING

from pog.errors import ExitUnavailable, FailureKind, PogError
from pog.net.connect import strerror

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable

    Dial = Callable[[], Awaitable[socket.socket]]

# RFC 9113 section 3.4, with an empty SETTINGS.
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\x04" + bytes(5)
# Of what a peer says at first.
_MOST_BYTES = 2048
# How long the other way may take. Seconds.
_PROBE_TIMEOUT = 2.0


class Peer(enum.Enum):
    """What listens there, by the first bytes that it sends."""

    HTTP2 = "HTTP/2"
    HTTP1 = "HTTP/1.1"
    POG_CLIENT = "a pog client"
    TLS = "TLS"
    OTHER = "something else"
    NOTHING = "nothing"


def named(first: bytes) -> Peer:
    """What a peer is that begins with these bytes."""
    if not first:
        return Peer.NOTHING
    if first.startswith(b"HTTP/"):
        return Peer.POG_CLIENT if b"\nx-proxy-over-grpc-error:" in first.lower() else Peer.HTTP1
    if first[0] in (0x15, 0x16) and first[1:2] in (b"\x03", b""):  # RFC 8446 section 5.1: an alert, a handshake
        return Peer.TLS
    # RFC 9113 section 3.4: a server begins with SETTINGS; a few KiB of them at most, on stream 0.
    if len(first) >= 9 and first[0] == 0 and first[3:9] == b"\x04" + bytes(5):
        return Peer.HTTP2
    return Peer.OTHER


_IS_CLIENT = "a pog client listens there: SERVER_ADDR must be the address of a pog server"
_IS_TLS = "the server speaks TLS: leave INSECURE out"


class FirstBytes(asyncio.Protocol):
    """Stands between a transport and a protocol until the peer has said something, and keeps that."""

    def __init__(self, protocol: asyncio.Protocol) -> None:
        self._protocol = protocol
        self._transport: asyncio.BaseTransport | None = None
        self.first = b""
        self.alpn: str | None = None
        # The protocol may write within connection_made.
        self.pause_writing = protocol.pause_writing  # type: ignore[method-assign]
        self.resume_writing = protocol.resume_writing  # type: ignore[method-assign]
        self.eof_received = protocol.eof_received  # type: ignore[method-assign]
        self.connection_lost = protocol.connection_lost  # type: ignore[method-assign]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        if (tls := transport.get_extra_info("ssl_object")) is not None:
            self.alpn = tls.selected_alpn_protocol()
        self._protocol.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        self.first = bytes(data[:_MOST_BYTES])
        assert self._transport is not None
        self._transport.set_protocol(self._protocol)
        self._protocol.data_received(data)


def certificate(name: str | None, error: ssl.SSLCertVerificationError) -> ExitUnavailable:
    """The certificate was refused. The numbers are X509_V_ERR_* of OpenSSL."""
    advice = {
        9: "is this machine's clock right?",
        10: "it has to be renewed, or this machine's clock is wrong",
        18: _OWN,
        19: _OWN,
        20: _OWN,
        21: _OWN,
        62: "SERVER_HOST may name another",
        64: "SERVER_HOST may name another",
    }.get(error.verify_code, "")
    text = f"the server's certificate is not good for {name}: {error.verify_message}"
    return ExitUnavailable(f"{text}; {advice}" if advice else text, FailureKind.EXIT_CERTIFICATE)


_OWN = "an authority of your own is named by SERVER_CA_FILE"


async def no_tls(error: OSError, dial: Dial) -> ExitUnavailable:
    """TLS has failed for another reason than the certificate."""
    reason = (getattr(error, "reason", None) or "") if isinstance(error, ssl.SSLError) else ""
    if reason.endswith("ALERT_NO_APPLICATION_PROTOCOL"):
        return _misconfigured(_http1("no ALPN h2"))
    text = f"no TLS with the server: {strerror(error)}"
    if "ALERT" in reason:  # so it is TLS
        return ExitUnavailable(text)
    match await _in_cleartext(dial):
        case Peer.HTTP2:
            return _misconfigured("the server speaks HTTP/2 in cleartext and no TLS: set INSECURE=1")
        case Peer.POG_CLIENT:
            return _misconfigured(_IS_CLIENT)
        case Peer.HTTP1:
            return _misconfigured(
                "the server speaks HTTP/1.1 in cleartext, neither TLS nor HTTP/2; is it a pog server?"
            )
    if reason == "WRONG_VERSION_NUMBER":
        return _misconfigured(f"{text}; is it cleartext? INSECURE=1")
    return ExitUnavailable(text)


async def no_http2(reason: str, first: bytes, *, tls: bool, alpn: str | None, dial: Dial, name: str) -> ExitUnavailable:
    """There is a connection, which ended for `reason` before it was one of HTTP/2. `name` is the server's in TLS."""
    peer = named(first)
    text = f"the server does not speak HTTP/2 here: {reason}"
    if peer is Peer.POG_CLIENT:
        return _misconfigured(_IS_CLIENT)
    if peer is Peer.TLS or (not tls and peer is not Peer.HTTP2 and await _by_tls(dial, name)):
        return _misconfigured(_IS_TLS)
    if peer is Peer.HTTP1:
        return _misconfigured(_http1(f"ALPN {alpn or 'none'}" if tls else "in cleartext"))
    return ExitUnavailable(text)


def _http1(how: str) -> str:
    return f"the server speaks HTTP/1.1 only ({how}), gRPC needs HTTP/2: a front must pass it on; is it a pog server?"


def _misconfigured(text: str) -> ExitUnavailable:
    return ExitUnavailable(text, FailureKind.EXIT_MISCONFIGURED)


async def _in_cleartext(dial: Dial) -> Peer:
    """What answers HTTP/2 without TLS."""
    loop = asyncio.get_running_loop()
    with suppress(OSError, PogError, TimeoutError):
        async with asyncio.timeout(_PROBE_TIMEOUT):
            with await dial() as sock:
                await loop.sock_sendall(sock, _PREFACE)
                return named(await loop.sock_recv(sock, _MOST_BYTES))
    return Peer.NOTHING


async def _by_tls(dial: Dial, name: str) -> bool:
    """Whether a TLS handshake gets anywhere; the certificate does not matter."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        async with asyncio.timeout(_PROBE_TIMEOUT):
            with await dial() as sock:
                made = asyncio.get_running_loop().create_connection(
                    asyncio.Protocol, sock=sock, ssl=context, server_hostname=name
                )
                transport, _ = await made
                transport.abort()
                return True
    except ssl.SSLError as error:
        return "ALERT" in (error.reason or "")
    except (OSError, PogError, TimeoutError, ValueError):
        return False
