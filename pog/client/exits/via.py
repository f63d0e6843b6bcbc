"""What is said to a proxy on the way to a server, until it passes bytes on: CONNECT, or SOCKS 5. [pure]

Strategy: a handshake is a generator. It yields what is to be sent and how many bytes are wanted next, and gets exactly
these. Nothing is read that may belong to the server: the head of an answer to CONNECT comes byte by byte, which is some
hundred bytes once an hour. It ends by returning, or by raising ExitUnavailable; an end of the input is told to it as
fewer bytes than it wanted.

python-socks, the library for this, takes what one read gives for the whole answer to CONNECT, so a head in two segments
breaks it, and so do bytes behind the head; and its SOCKS 5 takes ASCII only.
"""

from __future__ import annotations

from collections.abc import Generator
from ipaddress import ip_address
from typing import TYPE_CHECKING

import h11

from pog.client.exits.headers import USER_AGENT
from pog.errors import ExitUnavailable, FailureKind
from pog.net.address import join_host_port

if TYPE_CHECKING:
    from pog.config.exits import Via

# What is to be sent, and how many bytes are wanted behind it.
Handshake = Generator[tuple[bytes, int], bytes, None]

_LARGEST_HEAD = 16 * 1024

# RFC 1928 sections 3 to 6, RFC 1929.
_VERSION, _CONNECT, _LOGIN_VERSION = 5, 1, 1
_NO_LOGIN, _USER_PASSWORD, _NO_METHOD = 0, 2, 0xFF
_IPV4, _NAME, _IPV6 = 1, 3, 4
_REPLIES = {
    1: "general failure",
    2: "not allowed by its rules",
    3: "network unreachable",
    4: "host unreachable",
    5: "connection refused",
    6: "it took too long",
    7: "command not supported",
    8: "address type not supported",
}
# Another try may get another answer to these.
_PASSING_REPLIES = (1, 3, 4, 5, 6)


def handshake(via: Via, host: str, port: int) -> Handshake:
    """Asks the proxy for a connection to host:port; a name is left to the proxy."""
    return _connect(via, host, port) if via.scheme == "http" else _socks5(via, host, port)


def _connect(via: Via, host: str, port: int) -> Handshake:
    target = join_host_port(host, port)
    headers = [("Host", target), ("User-Agent", USER_AGENT)]
    if via.login is not None:
        headers.append(("Proxy-Authorization", via.login.basic()))
    http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_LARGEST_HEAD)
    request = http.send(h11.Request(method="CONNECT", target=target, headers=headers))
    assert request is not None
    to_send = request + (http.send(h11.EndOfMessage()) or b"")
    while True:
        byte = yield to_send, 1
        to_send = b""
        if not byte:
            raise _failed(via, "closed the connection instead of an answer")
        try:
            http.receive_data(byte)
            event = http.next_event()
        except h11.RemoteProtocolError:
            raise _failed(via, "does not answer in HTTP; is it socks5://?", FailureKind.EXIT_MISCONFIGURED) from None
        if isinstance(event, h11.Response):
            break
    status = event.status_code
    if 200 <= status < 300:
        return
    words = f"{status} {event.reason.decode('latin-1')}".strip()
    if status == 407:
        what = f"does not take {via.login}" if via.login else "wants user and password"
        raise _failed(via, f"{what} ({words})", FailureKind.EXIT_CREDENTIALS)
    # 5xx: the proxy tried, and another try may succeed; the rest is its policy.
    kind = FailureKind.EXIT_UNAVAILABLE if status >= 500 else FailureKind.EXIT_MISCONFIGURED
    raise _failed(via, f"refuses CONNECT {target}: {words}", kind)


def _socks5(via: Via, host: str, port: int) -> Handshake:
    methods = bytes((_NO_LOGIN, _USER_PASSWORD) if via.login else (_NO_LOGIN,))
    version, method = yield from _exactly(via, bytes((_VERSION, len(methods))) + methods, 2)
    if version != _VERSION:
        raise _failed(via, "does not answer in SOCKS 5; is it http://?", FailureKind.EXIT_MISCONFIGURED)
    if method == _USER_PASSWORD and via.login is not None:
        login = _prefixed(via.login.user) + _prefixed(via.login.password)
        _, refused = yield from _exactly(via, bytes((_LOGIN_VERSION,)) + login, 2)
        if refused:
            raise _failed(via, f"does not take {via.login}", FailureKind.EXIT_CREDENTIALS)
    elif method == _NO_METHOD:
        wanted = "another login than user and password" if via.login else "user and password"
        raise _failed(via, f"wants {wanted}", FailureKind.EXIT_CREDENTIALS)
    elif method != _NO_LOGIN:
        raise _failed(via, f"chose a login that was not offered ({method:#x})", FailureKind.EXIT_MISCONFIGURED)
    request = bytes((_VERSION, _CONNECT, 0)) + _socks_address(host) + port.to_bytes(2, "big")
    # A failure may be told in fewer bytes than RFC 1928 wants, so the code is looked at before the rest.
    version, reply = yield from _exactly(via, request, 2)
    if version != _VERSION or reply:
        words = f"refuses {join_host_port(host, port)}: {_REPLIES.get(reply, f'reply {reply:#x}')}"
        passing = reply in _PASSING_REPLIES
        raise _failed(via, words, FailureKind.EXIT_UNAVAILABLE if passing else FailureKind.EXIT_MISCONFIGURED)
    _, kind = yield from _exactly(via, b"", 2)
    sizes = {_IPV4: 4, _IPV6: 16}
    if kind == _NAME:
        (size,) = yield from _exactly(via, b"", 1)
    elif kind in sizes:
        size = sizes[kind]
    else:
        raise _failed(via, f"answers with an address of type {kind:#x}", FailureKind.EXIT_MISCONFIGURED)
    yield from _exactly(via, b"", size + 2)


def _exactly(via: Via, data: bytes, size: int) -> Generator[tuple[bytes, int], bytes, bytes]:
    got = yield data, size
    if len(got) < size:
        raise _failed(via, "closed the connection during the handshake of SOCKS 5")
    return got


def _prefixed(text: str) -> bytes:
    """With its length in front; config/via.py sees to it that one byte is enough."""
    data = text.encode()
    return bytes((len(data),)) + data


def _socks_address(host: str) -> bytes:
    try:
        address = ip_address(host)
    except ValueError:
        return bytes((_NAME,)) + _prefixed(host)
    return bytes((_IPV4 if address.version == 4 else _IPV6,)) + address.packed


def _failed(via: Via, what: str, kind: FailureKind = FailureKind.EXIT_UNAVAILABLE) -> ExitUnavailable:
    return ExitUnavailable(f"the proxy {via} {what}", kind)
