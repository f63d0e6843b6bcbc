"""What every front has in common: the outcomes that its bytes lead to, and the orders that it gets. [pure]

A front is what the user's program speaks, from the first byte to the tunnel: bytes in, outcomes out. Some protocols
hand their connection over to the tunnel (CONNECT, SOCKS): then the front is done. Others go on, and rewrite what passes
(plain HTTP): their TunnelWanted carries an Exchange, which stands between the user and the tunnel for one request, and
after it the front reads the next request.

    front = make(options)                   `make` is what sniff() says of the first bytes
    outcome = front.receive_data(data)      NEED_MORE: come again with more bytes
                                            Reply: send it, then call receive_data(b"") for the next outcome
                                            Credentials: check them, send authenticated(accepted); go on, or close
                                            TunnelWanted: open a tunnel, send granted() and pass everything on, or
                                            send refused(failure) and close; with an exchange see below
                                            PageRequest: answer it, and close
                                            Failure: send refused(failure), and close

With an exchange the user is sent what the exchange gives: granted() is not called. Once the exchange is complete, or
refused(failure) was sent in its place, `reusable` is asked: receive_data(b"") then begins the next request, which may
have arrived already; otherwise the connection closes. An exchange that fails with `answer_begun` resets it.

Every outcome depends on the bytes only, never on how they were split, and a front holds no more of them than the
longest head of its protocol and the last piece that it was given.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

from pog.errors import Failure, FailureKind
from pog.net.address import destination_of

if TYPE_CHECKING:
    from pog.net.address import Destination
    from pog.tunnel.request import Tunnel


class NeedMore(enum.Enum):
    """What has arrived says nothing yet."""

    NEED_MORE = "need more"


NEED_MORE = NeedMore.NEED_MORE


@dataclass(frozen=True, slots=True)
class Reply:
    """The user is to be sent this before it says more."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Credentials:
    """The user presented credentials before its request. `authorization` is as in HTTP's Authorization field (RFC
    7617): the one form in which credentials are checked."""

    authorization: str


class TunnelWanted(NamedTuple):
    """The user wants a tunnel to `destination`.

    `authorization`: credentials that came with the request, or before it (Credentials). `early`: what the user sent
    behind the request, to be sent up the tunnel as it is; with an `exchange` it is the front's, and empty here.
    `user_id`: the name that the user gave itself without any proof; it counts only where no credentials are wanted.
    """

    destination: Destination
    authorization: str | None = None
    early: bytes = b""
    exchange: Exchange | None = None
    user_id: str | None = None


@dataclass(frozen=True, slots=True)
class PageRequest:
    """Something else than a tunnel: one of our own pages; header names are in lower case."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    http_version: str

    def values(self, name: str) -> str:
        """The value of a list field, its lines joined as by RFC 9110 5.3; `name` in lower case."""
        return ",".join(value for key, value in self.headers if key == name)


Outcome = NeedMore | Reply | Credentials | TunnelWanted | PageRequest | Failure


def destination_or_failure(host: bytes, port: int) -> Destination | Failure:
    """The destination that a binary protocol asks for: a name as the user sent it, or an address in text."""
    try:
        return destination_of(host.decode(), port)
    except UnicodeDecodeError:
        problem = "expected UTF-8"
    except ValueError as error:
        problem = str(error)
    shown = ascii(host.decode("utf-8", "replace"))
    return Failure(FailureKind.BAD_ADDRESS, f"malformed destination: host {shown}, port {port}: {problem}")


class Exchange(Protocol):
    """One request and its answer through a tunnel, rewritten on the way. Nothing is collected: bytes in, bytes out.

    It begins when the tunnel is open, and is complete when both directions of this request are.
    """

    def start(self) -> bytes:
        """What goes up first: the rewritten head, and what of the content has arrived with it."""

    def user_data(self, data: bytes) -> bytes:
        """The user sent more: what goes up. What belongs to the next request is kept for the front, which takes it
        with its next receive_data. Raises Refused for a request that may not be passed on."""

    def tunnel_data(self, data: bytes | memoryview) -> bytes | memoryview:
        """The destination sent something: what goes down. Raises Refused for an answer that may not be passed on."""

    def tunnel_eof(self) -> bytes:
        """The destination will send no more: what still goes down. The exchange is over then, whatever `complete` says.
        Raises Refused when the answer was cut short."""

    @property
    def request_complete(self) -> bool:
        """Whether the whole request has gone up. A user who stops sending before that has left."""

    @property
    def waiting(self) -> int:
        """Bytes that are kept for the next request. Above a bound the user is not read."""

    @property
    def answer_begun(self) -> bool:
        """Whether the user has been sent something, so that an error can no longer be told."""

    @property
    def complete(self) -> bool:
        """Whether request and answer are both through."""

    @property
    def may_repeat(self) -> bool:
        """Whether the request may be sent again on another tunnel: nothing of an answer came, it is idempotent (RFC
        9110 9.2.2), and `start` still gives all of it."""

    @property
    def tunnel_reusable(self) -> bool:
        """After `complete`: whether another request to the same destination may follow on this tunnel."""

    @property
    def passes_through(self) -> bool:
        """After `complete`: whether from here on both directions are the tunnel's own, unchanged (Upgrade). What has
        arrived behind the request is the tunnel's then: user_data(b"") gives it."""


class FrontOptions(NamedTuple):
    """What a front has to know of the client that it belongs to."""

    credentials_wanted: bool = False
    # Whether a forwarded message says in Via that it passed here.
    via: bool = False


class Front(Protocol):
    """One connection of a user's program, as its protocol sees it."""

    @property
    def name(self) -> str:
        """The protocol, in logs and rules: "http", "socks5". It may depend on the request."""

    @property
    def begun(self) -> bool:
        """Whether a request has begun to arrive, and is not complete."""

    @property
    def reusable(self) -> bool:
        """After an exchange, or the refusal of one: whether another request may follow on this connection."""

    def receive_data(self, data: bytes) -> Outcome:
        """The next outcome. Called with more bytes after NEED_MORE; after a Reply, after credentials that were accepted
        and for the next request with b"" or with what has arrived meanwhile. Raises nothing."""

    def authenticated(self, accepted: bool) -> bytes:
        """After Credentials: what the user is sent."""

    def granted(self, tunnel: Tunnel | None = None) -> bytes:
        """After TunnelWanted without an exchange: the tunnel is open, or will be (None); what the user is sent."""

    def refused(self, failure: Failure) -> bytes:
        """There is no tunnel, or the request was bad; what the user is sent."""
