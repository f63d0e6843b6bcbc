"""The ways out that a client is told of: a pog server, or a kind that is built in, and the way to a server. [pure]"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from pog.net.address import Address

# What is spoken to a proxy on the way to a server.
Scheme = Literal["http", "socks5"]
# What happens to the open tunnels of an exit that is dead; the first is the default.
ON_DEAD = ("keep", "close")


@dataclass(frozen=True, slots=True)
class Login:
    """A user and a password to present; the password appears in no text."""

    user: str
    password: str = field(repr=False)

    def __str__(self) -> str:
        return f"{self.user}:***"

    def basic(self) -> str:
        """The value of an Authorization field, RFC 7617."""
        return "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode()


@dataclass(frozen=True, slots=True)
class Via:
    """A proxy on the way to a server. The password appears in no text."""

    scheme: Scheme
    address: Address
    login: Login | None = None

    def __str__(self) -> str:
        return f"{self.scheme}://{f'{self.login}@' if self.login else ''}{self.address}"


@dataclass(frozen=True, slots=True)
class NoVia:
    """No proxy, on purpose."""

    def __str__(self) -> str:
        return "direct"


@dataclass(frozen=True, slots=True)
class BuiltIn:
    """An exit without a server, by the name of its kind. Written with a colon where a server's address may stand."""

    name: str

    def __str__(self) -> str:
        return f"{self.name}:"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerExit:
    """One pog server as a way out, and how to reach it. Times are in seconds.

    `iam`: where ID tokens for Google's IAM come from: gcloud, metadata, or the path of a service account's key.
    `login_from` says where the login was given: "file" or the name of a variable.
    `ca_file`: authorities in place of the system's. `fingerprint`: pins of keys (net/pins.py), one of which the server
    has to have; without `ca_file` nothing else of its certificate is verified.
    `authority` is the :authority to send and the name to verify, "" for those of the address. `wait`: how long a
    request waits while there is no connection; with `fail_fast` it waits for no more than the dial under way.
    `spread`: every address that the name resolves to is a replica, and tunnels go round them.
    `max_connection_age`: then tunnels go on a new connection; 0 is never. `via`: a proxy on the way; None where nobody
    has said anything of one. `on_dead`: one of ON_DEAD; programs whose tunnels are closed
    connect again, and get another exit.
    """

    name: str
    server: Address
    authority: str = ""
    insecure: bool = False
    skip_verify: bool = False
    ca_file: str = ""
    fingerprint: tuple[str, ...] = ()
    login: Login | None = None
    login_from: str = ""
    iam: str = ""
    wait: float = 5.0
    connect_timeout: float = 10.0
    keepalive: float = 30.0
    max_connection_age: float = 3000.0
    fail_fast: bool = False
    spread: bool = False
    via: Via | NoVia | None = None
    on_dead: str = "keep"
