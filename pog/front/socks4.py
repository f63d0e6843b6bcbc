"""SOCKS 4, and 4A, which carries names: https://www.openssh.com/txt/socks4.protocol and socks4a.protocol.

    the user sends                                                    we answer
    version, command, port, address, user id, NUL [, name, NUL]       90 when the tunnel is open, 91 for any refusal

With the address 0.0.0.x, x not 0, a name follows (4A), which is passed on unresolved. Only CONNECT is served. The user
id proves nothing: it is a name where no credentials are wanted, and where they are, there is no way in by SOCKS 4.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from pog.errors import Failure, FailureKind
from pog.front.base import NEED_MORE, TunnelWanted, destination_or_failure

if TYPE_CHECKING:
    from pog.front.base import FrontOptions, Outcome
    from pog.tunnel.request import Tunnel

VERSION = 4
_CONNECT = 1
_COMMANDS = {1: "CONNECT", 2: "BIND"}
_GRANTED, _REJECTED = 90, 91
_HEAD_BYTES = 8
# The protocol has no limits; these are those of SOCKS 5.
_LONGEST_USER_ID = 255
_LONGEST_NAME = 255


class Socks4:
    """One connection of a program that speaks SOCKS 4 or 4A. It carries one request."""

    __slots__ = ("_buffer", "_done", "_options")

    name = "socks4"
    reusable = False

    def __init__(self, options: FrontOptions) -> None:
        self._options = options
        self._buffer = bytearray()
        # The last outcome of this connection.
        self._done: TunnelWanted | Failure | None = None

    @property
    def begun(self) -> bool:
        return self._done is None and bool(self._buffer)

    def receive_data(self, data: bytes) -> Outcome:
        if self._done is not None:
            return self._done
        self._buffer += data
        outcome = self._request()
        if isinstance(outcome, TunnelWanted | Failure):
            self._done = outcome
            self._buffer.clear()
        return outcome

    def authenticated(self, accepted: bool) -> bytes:
        return b"" if accepted else _reply(_REJECTED)

    def granted(self, tunnel: Tunnel | None = None) -> bytes:
        return _reply(_GRANTED)

    def refused(self, failure: Failure) -> bytes:
        return _reply(_REJECTED)

    def _request(self) -> Outcome:
        buffer = self._buffer
        if buffer and buffer[0] != VERSION:
            return Failure(FailureKind.BAD_REQUEST, f"expected version 4 of SOCKS, not {buffer[0]}")
        if len(buffer) < _HEAD_BYTES:
            return NEED_MORE
        command, port, address = buffer[1], int.from_bytes(buffer[2:4], "big"), bytes(buffer[4:8])
        if command != _CONNECT:
            name = _COMMANDS.get(command, f"command {command}")
            return Failure(FailureKind.BAD_COMMAND, f"SOCKS 4 {name} is not supported, only CONNECT")
        if self._options.credentials_wanted:
            text = "user and password required, which SOCKS 4 cannot carry: use SOCKS 5 or HTTP"
            return Failure(FailureKind.CREDENTIALS, text)
        user_id = self._text(_HEAD_BYTES, _LONGEST_USER_ID, "user id")
        if not isinstance(user_id, bytes):
            return user_id
        end = _HEAD_BYTES + len(user_id) + 1
        if int.from_bytes(address, "big") in range(1, 256):
            host = self._text(end, _LONGEST_NAME, "name")
            if not isinstance(host, bytes):
                return host
            end += len(host) + 1
        else:
            host = str(ipaddress.IPv4Address(address)).encode()
        destination = destination_or_failure(host, port)
        if isinstance(destination, Failure):
            return destination
        user = user_id.decode("utf-8", "replace") or None
        return TunnelWanted(destination, user_id=user, early=bytes(buffer[end:]))

    def _text(self, start: int, longest: int, what: str) -> bytes | Outcome:
        """The bytes from `start` to the next NUL."""
        end = self._buffer.find(0, start, start + longest + 1)
        if end >= 0:
            return bytes(self._buffer[start:end])
        if len(self._buffer) > start + longest:
            return Failure(FailureKind.BAD_REQUEST, f"the {what} of SOCKS 4 is longer than {longest} bytes")
        return NEED_MORE


def _reply(code: int) -> bytes:
    """The version of a reply is 0; port and address mean nothing after CONNECT."""
    return bytes((0, code, 0, 0, 0, 0, 0, 0))
