"""Everything that pog raises, and the one table that says how a failure is told in each protocol.

    PogError
    +-- SettingsError        a setting is missing or malformed; names the variable or flag
    +-- Refused              there is no tunnel; carries a Failure
    |   +-- DialError            the destination was not reached
    |   +-- AuthError            the credentials do not open this door
    |   +-- AuthBusy             they were not checked: too many at a time
    |   +-- ExitUnavailable      the client cannot reach its server
    +-- LimitReached         this process lacks something; that says nothing about the destination
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


class PogError(Exception):
    """The root: catching it catches everything that pog raises on purpose."""


class SettingsError(PogError):
    """A setting is missing or malformed. `name` is the variable or flag, `problem` says what form is accepted."""

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"{name}: {problem}")
        self.name = name
        self.problem = problem


class FailureKind(enum.Enum):
    """Why there is no tunnel. The value travels in metadata, in metrics and in logs, so it never changes."""

    # The destination.
    BAD_ADDRESS = "bad_address"
    DENIED = "denied"
    DNS = "dns"
    REFUSED = "refused"
    UNREACHABLE = "unreachable"
    TIMEOUT = "timeout"
    # All that a server of another make says.
    FAILED = "failed"
    # The destination, as an origin of plain HTTP.
    NO_ANSWER = "no_answer"
    BAD_ANSWER = "bad_answer"
    # The exit, or the way to it.
    EXIT_UNAVAILABLE = "exit_unavailable"
    EXIT_CREDENTIALS = "exit_credentials"
    EXIT_CERTIFICATE = "exit_certificate"
    EXIT_MISCONFIGURED = "exit_misconfigured"
    EXIT_BUSY = "exit_busy"
    EXIT_TIMEOUT = "exit_timeout"
    EXIT_FAILED = "exit_failed"
    # The one who asks.
    BAD_REQUEST = "bad_request"
    BAD_PROTOCOL = "bad_protocol"
    REQUEST_TIMEOUT = "request_timeout"
    BAD_COMMAND = "bad_command"
    BAD_ADDRESS_TYPE = "bad_address_type"
    CREDENTIALS = "credentials"
    GONE = "gone"
    # This program.
    BUSY = "busy"
    LIMIT = "limit"
    STOPPING = "stopping"
    INTERNAL = "internal"


# How a dial can fail.
DIAL_KINDS = (
    FailureKind.BAD_ADDRESS,
    FailureKind.DENIED,
    FailureKind.DNS,
    FailureKind.REFUSED,
    FailureKind.UNREACHABLE,
    FailureKind.TIMEOUT,
    FailureKind.LIMIT,
)


class Blame(enum.Enum):
    """Who has to act, and so what may be tried: another exit helps only against a fault of this one."""

    DESTINATION = "destination"
    EXIT = "exit"
    USER = "user"
    US = "us"


# Replies of SOCKS 5, RFC 1928 section 6.
SOCKS5_GENERAL_FAILURE = 1
SOCKS5_NOT_ALLOWED = 2
SOCKS5_NETWORK_UNREACHABLE = 3
SOCKS5_HOST_UNREACHABLE = 4
SOCKS5_CONNECTION_REFUSED = 5
SOCKS5_TTL_EXPIRED = 6
SOCKS5_COMMAND_NOT_SUPPORTED = 7
SOCKS5_ADDRESS_TYPE_NOT_SUPPORTED = 8


@dataclass(frozen=True, slots=True)
class Wording:
    """How one kind of failure is said in each protocol. `proxy_error` is an error type of RFC 9209 section 2.3; SOCKS 4
    has a single reply, 91, for all of them. `grpc_status`, as Go names it, is the server's code in the log, and
    `http_status` the client's. `lasting`: time alone does not mend it, so nobody should wait."""

    blame: Blame
    grpc_status: Status
    http_status: int
    proxy_error: str
    socks5_reply: int = SOCKS5_GENERAL_FAILURE
    summary: str = ""
    lasting: bool = False


# The one table. Every edge reads it: the server's answers and statuses, the client's answers in every front, both logs.
WORDINGS = {
    FailureKind.BAD_ADDRESS: Wording(
        Blame.DESTINATION, Status.INVALID_ARGUMENT, 400, "http_request_error", summary="is not a host:port"
    ),
    FailureKind.DENIED: Wording(
        Blame.DESTINATION,
        Status.PERMISSION_DENIED,
        403,
        "destination_ip_prohibited",
        SOCKS5_NOT_ALLOWED,
        "is not allowed",
    ),
    FailureKind.DNS: Wording(
        Blame.DESTINATION, Status.NOT_FOUND, 502, "dns_error", SOCKS5_HOST_UNREACHABLE, "has no address"
    ),
    FailureKind.REFUSED: Wording(
        Blame.DESTINATION,
        Status.UNAVAILABLE,
        502,
        "connection_refused",
        SOCKS5_CONNECTION_REFUSED,
        "refused the connection",
    ),
    FailureKind.UNREACHABLE: Wording(
        Blame.DESTINATION,
        Status.UNAVAILABLE,
        502,
        "destination_ip_unroutable",
        SOCKS5_HOST_UNREACHABLE,
        "cannot be reached",
    ),
    FailureKind.TIMEOUT: Wording(
        Blame.DESTINATION,
        Status.DEADLINE_EXCEEDED,
        504,
        "connection_timeout",
        SOCKS5_TTL_EXPIRED,
        "did not answer in time",
    ),
    FailureKind.FAILED: Wording(
        Blame.DESTINATION, Status.UNAVAILABLE, 502, "destination_unavailable", SOCKS5_HOST_UNREACHABLE
    ),
    # Of plain HTTP, where the answer itself passes through our hands.
    FailureKind.NO_ANSWER: Wording(
        Blame.DESTINATION,
        Status.UNAVAILABLE,
        502,
        "connection_terminated",
        summary="closed the connection before it answered",
    ),
    FailureKind.BAD_ANSWER: Wording(
        Blame.DESTINATION, Status.UNAVAILABLE, 502, "http_protocol_error", summary="sent a malformed answer"
    ),
    # The Go original's client answers 503 for these two statuses of its server and 500 for any other.
    FailureKind.EXIT_UNAVAILABLE: Wording(
        Blame.EXIT, Status.UNAVAILABLE, 503, "destination_unavailable", SOCKS5_NETWORK_UNREACHABLE
    ),
    FailureKind.EXIT_CREDENTIALS: Wording(
        Blame.EXIT, Status.UNAUTHENTICATED, 503, "proxy_configuration_error", lasting=True
    ),
    FailureKind.EXIT_CERTIFICATE: Wording(Blame.EXIT, Status.UNAVAILABLE, 503, "tls_certificate_error", lasting=True),
    # It is not what the settings say: no TLS, no HTTP/2, no pog server; or the proxy on the way forbids it.
    FailureKind.EXIT_MISCONFIGURED: Wording(
        Blame.EXIT, Status.UNAVAILABLE, 503, "proxy_configuration_error", lasting=True
    ),
    FailureKind.EXIT_BUSY: Wording(Blame.EXIT, Status.RESOURCE_EXHAUSTED, 500, "connection_limit_reached"),
    FailureKind.EXIT_TIMEOUT: Wording(
        Blame.EXIT, Status.DEADLINE_EXCEEDED, 504, "connection_timeout", SOCKS5_TTL_EXPIRED
    ),
    FailureKind.EXIT_FAILED: Wording(Blame.EXIT, Status.INTERNAL, 500, "proxy_internal_error"),
    FailureKind.BAD_REQUEST: Wording(Blame.USER, Status.FAILED_PRECONDITION, 400, "http_request_error"),
    FailureKind.BAD_PROTOCOL: Wording(Blame.USER, Status.FAILED_PRECONDITION, 505, "http_protocol_error"),
    FailureKind.REQUEST_TIMEOUT: Wording(Blame.USER, Status.DEADLINE_EXCEEDED, 408, "http_request_error"),
    FailureKind.BAD_COMMAND: Wording(
        Blame.USER, Status.UNIMPLEMENTED, 501, "http_request_error", SOCKS5_COMMAND_NOT_SUPPORTED
    ),
    FailureKind.BAD_ADDRESS_TYPE: Wording(
        Blame.USER, Status.INVALID_ARGUMENT, 400, "http_request_error", SOCKS5_ADDRESS_TYPE_NOT_SUPPORTED
    ),
    FailureKind.CREDENTIALS: Wording(
        Blame.USER, Status.UNAUTHENTICATED, 407, "http_request_denied", SOCKS5_NOT_ALLOWED
    ),
    # nginx's code for a user who left before the answer; it appears in the log only.
    FailureKind.GONE: Wording(Blame.USER, Status.CANCELLED, 499, "connection_terminated"),
    FailureKind.BUSY: Wording(Blame.US, Status.UNAVAILABLE, 503, "connection_limit_reached"),
    FailureKind.LIMIT: Wording(
        Blame.US, Status.RESOURCE_EXHAUSTED, 503, "connection_limit_reached", summary="was not tried"
    ),
    FailureKind.STOPPING: Wording(Blame.US, Status.UNAVAILABLE, 503, "destination_unavailable"),
    FailureKind.INTERNAL: Wording(Blame.US, Status.UNKNOWN, 500, "proxy_internal_error"),
}


@dataclass(frozen=True, slots=True)
class Failure:
    """Why there is no tunnel: what an exit gives in its place, and what a front tells in its own protocol.

    `text` is for people, in one line. `status` is a status of HTTP that says more than the kind's own, or 0. `exit` is
    the last one that was tried, `rule` what chose it; both are empty where there is no choice.
    """

    kind: FailureKind
    text: str
    status: int = 0
    exit: str = ""
    rule: str = ""

    @property
    def wording(self) -> Wording:
        return WORDINGS[self.kind]

    @property
    def http_status(self) -> int:
        return self.status or WORDINGS[self.kind].http_status


class Refused(PogError):
    """There is no tunnel; `failure` says why. For code that returns a value where an exit gives one or the other."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.text)
        self.failure = failure


class DialError(Refused):
    """The destination was not reached. `detail` is what the system said, or what would help; it may be empty."""

    def __init__(self, kind: FailureKind, destination: object, detail: str = "") -> None:
        text = f"{destination} {WORDINGS[kind].summary}"
        super().__init__(Failure(kind, f"{text}: {detail}" if detail else text))


class LimitReached(PogError):
    """This process or its system lacks descriptors, threads or memory. That says nothing about the destination."""


class AuthError(Refused):
    """The credentials do not open this door.

    Unknown user, wrong password, expired item and malformed credentials share one text, so that a stranger learns
    nothing. Credentials that were not sent at all have their own: nothing can be learned from it.
    """

    def __init__(self, *, missing: bool = False) -> None:
        text = "user and password required" if missing else "wrong or expired user and/or password"
        super().__init__(Failure(FailureKind.CREDENTIALS, text))
        self.missing = missing


class AuthBusy(Refused):
    """Too many credentials wait to be checked; that says nothing about these."""

    def __init__(self) -> None:
        super().__init__(Failure(FailureKind.BUSY, "too many logins at a time, try again"))


class ExitUnavailable(Refused):
    """The client cannot reach its server; the text says why. `kind` differs where the server is not the cause."""

    def __init__(self, text: str, kind: FailureKind = FailureKind.EXIT_UNAVAILABLE) -> None:
        super().__init__(Failure(kind, text))


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


def go_name(status: Status) -> str:
    """The name of a status as Go prints it (codes.Code.String)."""
    return _GO_NAMES[status]


_GO_NAMES = {status: status.name.title().replace("_", "") for status in Status} | {
    Status.OK: "OK",
    Status.CANCELLED: "Canceled",
}

# What the server of the Go original, or of an older pog, says of a destination: a status of HTTP and no kind.
_KIND_OF_HTTP = {
    400: FailureKind.BAD_ADDRESS,
    403: FailureKind.DENIED,
    502: FailureKind.FAILED,
    503: FailureKind.FAILED,
    504: FailureKind.TIMEOUT,
}
_KINDS = {kind.value: kind for kind in FailureKind}


def failure_of_destination(http_status: int, text: str, kind: str | None) -> Failure:
    """What a server says of a destination. `kind` is the value of a FailureKind, or unknown, or missing."""
    status = http_status if 400 <= http_status <= 599 else 500
    known = _KINDS.get(kind or "") or _KIND_OF_HTTP.get(status, FailureKind.EXIT_FAILED)
    if known is FailureKind.LIMIT:
        known = FailureKind.EXIT_BUSY  # its limit, seen from here
    return Failure(known, text or "no reason given", status)


_KIND_OF_STATUS = {
    Status.UNAVAILABLE: FailureKind.EXIT_UNAVAILABLE,
    Status.UNAUTHENTICATED: FailureKind.EXIT_CREDENTIALS,
    Status.RESOURCE_EXHAUSTED: FailureKind.EXIT_BUSY,
}


def failure_of_exit(status: Status, text: str) -> Failure:
    """A call that ended with `status` before the server had said anything of the destination."""
    kind = _KIND_OF_STATUS.get(status, FailureKind.EXIT_FAILED)
    return Failure(kind, f"the server did not open the tunnel: {status.name}: {text}")
