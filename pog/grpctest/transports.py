"""The ways between the client and the services, and what a service is."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from grpclib.const import Handler


class Transport(enum.StrEnum):
    """How the client reaches the services."""

    TCP = "tcp"
    """grpclib's server on a free port of loopback."""

    MEMORY = "memory"
    """grpclib's server without any socket."""

    TLS = "tls"
    """As TCP, over TLS with a certificate that lives as long as the process."""

    APP = "app"
    """As pog serves: an ASGI app on Hypercorn, whose HTTP/2 is pog's own."""

    GRPCIO = "grpcio"
    """grpcio's server, which shares no code with the others: for clients under test."""


class Service(Protocol):
    """What grpclib's generated base classes are."""

    def __mapping__(self) -> dict[str, Handler]:
        """Path of each method to its handler."""


class MissingExtra(ImportError):
    """A package that only this use of grpctest needs is not installed."""

    def __init__(self, what: str, package: str) -> None:
        super().__init__(f"{what} needs {package}: pip install '{package}'", name=package)
