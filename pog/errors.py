"""Everything that pog raises, and the one table that says how a failed dial is told to others.

    PogError
    +-- SettingsError        a setting is missing or malformed; names the variable or flag
    +-- DialError            the destination was not reached; carries a DialKind
    +-- LimitReached         this process lacks something; that says nothing about the destination
    +-- AuthError            the credentials do not open this door
    |   +-- AuthBusy             nor were they looked at: too many at a time
    +-- ExitUnavailable      the client cannot reach its server
    +-- StreamsExhausted     the connection takes no more streams now
    +-- TunnelError          what ends an open tunnel
        +-- TunnelReset          one side reset its stream
        +-- ConnectionLost       the connection under the tunnel is gone
        +-- ProtocolViolation    the peer broke the rules of the tunnel
        +-- CallFailed           the server ended the call with a status that is not OK

Errors carry data; nobody parses their text. The text is for people, in one line, and never holds a secret.
"""

import enum
from dataclasses import dataclass

from grpclib.const import Status

from pog.net.address import LONGEST


class PogError(Exception):
    """The root: catching it catches everything that pog raises on purpose."""


class SettingsError(PogError):
    """A setting is missing or malformed. `name` is the variable or flag, `problem` says what form is accepted."""

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"{name}: {problem}")
        self.name = name
        self.problem = problem


class DialKind(enum.Enum):
    """Why a destination was not reached."""

    BAD_ADDRESS = "bad_address"
    DENIED = "denied"
    DNS = "dns"
    REFUSED = "refused"
    UNREACHABLE = "unreachable"
    TIMEOUT = "timeout"
    LIMIT = "limit"


# Replies of SOCKS 5, RFC 1928 section 6.
SOCKS5_REP_GENERAL_FAILURE = 1
SOCKS5_REP_NOT_ALLOWED = 2
SOCKS5_REP_HOST_UNREACHABLE = 4
SOCKS5_REP_CONNECTION_REFUSED = 5
SOCKS5_REP_TTL_EXPIRED = 6


@dataclass(frozen=True, slots=True)
class Failure:
    """How one kind of failed dial is told in each protocol. `proxy_status` is an error type of RFC 9209 section 2.3."""

    grpc_status: Status
    http_status: int
    socks_reply: int
    proxy_status: str
    summary: str


ERRORS = {
    DialKind.BAD_ADDRESS: Failure(
        Status.INVALID_ARGUMENT, 400, SOCKS5_REP_GENERAL_FAILURE, "http_request_error", "is not a host:port"
    ),
    DialKind.DENIED: Failure(
        Status.PERMISSION_DENIED,
        403,
        SOCKS5_REP_NOT_ALLOWED,
        "destination_ip_prohibited",
        "is refused by the server's rules",
    ),
    DialKind.DNS: Failure(Status.NOT_FOUND, 502, SOCKS5_REP_HOST_UNREACHABLE, "dns_error", "has no address"),
    DialKind.REFUSED: Failure(
        Status.UNAVAILABLE, 502, SOCKS5_REP_CONNECTION_REFUSED, "connection_refused", "refused the connection"
    ),
    DialKind.UNREACHABLE: Failure(
        Status.UNAVAILABLE, 502, SOCKS5_REP_HOST_UNREACHABLE, "destination_ip_unroutable", "cannot be reached"
    ),
    DialKind.TIMEOUT: Failure(
        Status.DEADLINE_EXCEEDED, 504, SOCKS5_REP_TTL_EXPIRED, "connection_timeout", "did not answer in time"
    ),
    DialKind.LIMIT: Failure(
        Status.RESOURCE_EXHAUSTED,
        503,
        SOCKS5_REP_GENERAL_FAILURE,
        "connection_limit_reached",
        "was not tried, the server lacks resources",
    ),
}


class DialError(PogError):
    """The destination was not reached. `detail` is what the system said, or what would help; it may be empty."""

    def __init__(self, kind: DialKind, host_port: str, detail: str = "") -> None:
        shown = host_port[:LONGEST]  # of what is no address, no more is repeated
        text = f"{shown.strip() or repr(shown)} {ERRORS[kind].summary}"
        super().__init__(f"{text}: {detail}" if detail else text)
        self.kind = kind
        self.host_port = host_port
        self.detail = detail

    @property
    def failure(self) -> Failure:
        return ERRORS[self.kind]


class LimitReached(PogError):
    """This process or its system lacks descriptors, threads or memory. That says nothing about the destination."""


class AuthError(PogError):
    """The credentials do not open this door.

    Unknown user, wrong password, expired item and malformed credentials share one text, so that a stranger learns
    nothing. Credentials that were not sent at all have their own: nothing can be learned from it.
    """

    def __init__(self, *, missing: bool = False) -> None:
        super().__init__("user and password required" if missing else "wrong or expired user and/or password")
        self.missing = missing


class AuthBusy(AuthError):
    """Too many credentials wait to be checked; that says nothing about these."""

    def __init__(self) -> None:
        super().__init__()
        self.args = ("too many logins at a time, try again",)


class ExitUnavailable(PogError):
    """The client cannot reach its server; the text says why."""


class StreamsExhausted(PogError):
    """The connection takes no more streams now: it is full, or on its way out."""


class TunnelError(PogError):
    """Ends an open tunnel."""


class TunnelReset(TunnelError):
    """One side reset its stream. `code` is an error code of HTTP/2, RFC 9113 section 7."""

    def __init__(self, code: int, by_peer: bool) -> None:
        super().__init__(f"tunnel reset by {'the peer' if by_peer else 'us'} with HTTP/2 error code {code:#x}")
        self.code = code
        self.by_peer = by_peer


class ConnectionLost(TunnelError):
    """The connection under the tunnel is gone."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"connection lost: {reason}")
        self.reason = reason


class ProtocolViolation(TunnelError):
    """The peer broke the rules of the tunnel; the text says which."""


class CallFailed(TunnelError):
    """The server ended the call with a status that is not OK; `message` is its own text and may be empty."""

    def __init__(self, status: Status, message: str) -> None:
        super().__init__(f"the server ended the call: {status.name}{': ' if message else ''}{message}")
        self.status = status
        self.message = message


# github.com/grpc/grpc, doc/http-grpc-status-mapping.md; anything else is UNKNOWN.
_STATUS_OF_HTTP = {
    400: Status.INTERNAL,
    401: Status.UNAUTHENTICATED,
    403: Status.PERMISSION_DENIED,
    404: Status.UNIMPLEMENTED,
    429: Status.UNAVAILABLE,
    502: Status.UNAVAILABLE,
    503: Status.UNAVAILABLE,
    504: Status.UNAVAILABLE,
}


def status_of_http(http_status: str) -> Status:
    """What an answer of HTTP's own means to gRPC."""
    return _STATUS_OF_HTTP.get(int(http_status) if http_status.isdecimal() else 0, Status.UNKNOWN)
