"""SOCKS 5: RFC 1928 with the methods «no authentication» and «user name and password» (RFC 1929).

    stage       the user sends                      we answer                             refused with
    GREETING    version, methods                    the method that we choose             method FF
    LOGIN       user name and password              status 0                              status 1
    REQUEST     command, address type, host, port   reply 0 when the tunnel is open       reply 1 to 8, pog/errors.py

Names are passed on unresolved: the exit resolves them. Only CONNECT is served. Programs may send everything in one go,
with the first bytes for the tunnel behind it.
"""

from __future__ import annotations

import base64
import enum
import ipaddress
from typing import TYPE_CHECKING, assert_never

from pog.errors import Failure, FailureKind
from pog.front.base import NEED_MORE, Credentials, Reply, TunnelWanted, destination_or_failure

if TYPE_CHECKING:
    from pog.front.base import FrontOptions, Outcome
    from pog.tunnel.request import Tunnel

VERSION = 5
_LOGIN_VERSION = 1

_NO_AUTHENTICATION = 0
_USERNAME_PASSWORD = 2
_NO_ACCEPTABLE_METHODS = 0xFF

_COMMANDS = {1: "CONNECT", 2: "BIND", 3: "UDP ASSOCIATE"}
_CONNECT = 1

_IPV4, _NAME, _IPV6 = 1, 3, 4
_ADDRESS_LENGTHS = {_IPV4: 4, _IPV6: 16}

# RFC 1928 section 6. The address that the exit uses is not known here; 0.0.0.0:0 is what others say then, and no
# program needs it after CONNECT.
_BOUND = bytes((0, _IPV4, 0, 0, 0, 0, 0, 0))


class _Stage(enum.Enum):
    GREETING = "greeting"
    LOGIN = "login"
    REQUEST = "request"


class Socks5:
    """One connection of a program that speaks SOCKS 5. It carries one request."""

    __slots__ = ("_authorization", "_buffer", "_done", "_options", "_stage")

    name = "socks5"
    reusable = False

    def __init__(self, options: FrontOptions) -> None:
        self._options = options
        self._buffer = bytearray()
        self._stage = _Stage.GREETING
        self._authorization: str | None = None
        # The last outcome of this connection.
        self._done: TunnelWanted | Failure | None = None

    @property
    def begun(self) -> bool:
        return self._done is None and (self._stage is not _Stage.GREETING or bool(self._buffer))

    def receive_data(self, data: bytes) -> Outcome:
        if self._done is not None:
            return self._done
        self._buffer += data
        match self._stage:
            case _Stage.GREETING:
                outcome = self._greeting()
            case _Stage.LOGIN:
                outcome = self._login()
            case _Stage.REQUEST:
                outcome = self._request()
            case _:
                assert_never(self._stage)
        if isinstance(outcome, TunnelWanted | Failure):
            self._done = outcome
            self._buffer.clear()
        return outcome

    def authenticated(self, accepted: bool) -> bytes:
        if accepted:
            self._stage = _Stage.REQUEST
        return bytes((_LOGIN_VERSION, 0 if accepted else 1))

    def granted(self, tunnel: Tunnel | None = None) -> bytes:
        return bytes((VERSION, 0)) + _BOUND

    def refused(self, failure: Failure) -> bytes:
        match self._stage:
            case _Stage.GREETING:
                return bytes((VERSION, _NO_ACCEPTABLE_METHODS))
            case _Stage.LOGIN:
                return bytes((_LOGIN_VERSION, 1))
            case _Stage.REQUEST:
                return bytes((VERSION, failure.wording.socks5_reply)) + _BOUND
            case _:
                assert_never(self._stage)

    def _greeting(self) -> Outcome:
        buffer = self._buffer
        if buffer and buffer[0] != VERSION:
            return Failure(FailureKind.BAD_REQUEST, f"expected version 5 of SOCKS, not {buffer[0]}")
        if len(buffer) < 2 or len(buffer) < 2 + buffer[1]:
            return NEED_MORE
        methods = self._take(2 + buffer[1])[2:]
        # Where no credentials are wanted, programs that insist on sending some are welcome with any: Tor taught them
        # to. Those that offer both are not asked: some offer a method that they have no credentials for.
        if not self._options.credentials_wanted and _NO_AUTHENTICATION in methods:
            self._stage = _Stage.REQUEST
            return Reply(bytes((VERSION, _NO_AUTHENTICATION)))
        if _USERNAME_PASSWORD in methods:
            self._stage = _Stage.LOGIN
            return Reply(bytes((VERSION, _USERNAME_PASSWORD)))
        if self._options.credentials_wanted:
            return Failure(FailureKind.CREDENTIALS, "user and password required")
        return Failure(FailureKind.BAD_REQUEST, "SOCKS 5 without a method of ours: none, or user name and password")

    def _login(self) -> Outcome:
        """RFC 1929 section 2: version, length, user name, length, password."""
        buffer = self._buffer
        if buffer and buffer[0] != _LOGIN_VERSION:
            return Failure(FailureKind.BAD_REQUEST, f"expected version 1 of user name and password, not {buffer[0]}")
        if len(buffer) < 2 or len(buffer) < 3 + buffer[1]:
            return NEED_MORE
        end_of_user = 2 + buffer[1]
        end = end_of_user + 1 + buffer[end_of_user]
        if len(buffer) < end:
            return NEED_MORE
        login = self._take(end)
        pair = login[2:end_of_user] + b":" + login[end_of_user + 1 :]
        self._authorization = "Basic " + base64.b64encode(pair).decode("ascii")
        return Credentials(self._authorization)

    def _request(self) -> Outcome:
        """RFC 1928 section 4: version, command, reserved, address type, address, port."""
        buffer = self._buffer
        if buffer and buffer[0] != VERSION:
            return Failure(FailureKind.BAD_REQUEST, f"expected a request of SOCKS 5, not of version {buffer[0]}")
        if len(buffer) < 4:
            return NEED_MORE
        command, address_type = buffer[1], buffer[3]
        if command != _CONNECT:
            name = _COMMANDS.get(command, f"command {command}")
            return Failure(FailureKind.BAD_COMMAND, f"SOCKS 5 {name} is not supported, only CONNECT")
        if address_type == _NAME:
            start = 5
            if len(buffer) < start:
                return NEED_MORE
            end = start + buffer[4]
        elif address_type in _ADDRESS_LENGTHS:
            start = 4
            end = start + _ADDRESS_LENGTHS[address_type]
        else:
            return Failure(FailureKind.BAD_ADDRESS_TYPE, f"address type {address_type} of SOCKS 5 is not supported")
        if len(buffer) < end + 2:
            return NEED_MORE
        request = self._take(end + 2)
        address, port = request[start:end], int.from_bytes(request[end:], "big")
        if address_type != _NAME:
            address = str(ipaddress.ip_address(address)).encode()
        destination = destination_or_failure(address, port)
        if isinstance(destination, Failure):
            return destination
        return TunnelWanted(destination, self._authorization, early=bytes(self._buffer))

    def _take(self, size: int) -> bytes:
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken
