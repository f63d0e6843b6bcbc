"""The certificate of a listening socket."""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pog.errors import SettingsError
from pog.net.pins import pin_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

# What RFC 9113 section 9.2.2 leaves of TLS 1.2: ephemeral keys and AEAD. TLS 1.3 has nothing else.
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"

# Of each file, what differs when it was written anew; None where it cannot be read.
Stamp = tuple[tuple[int, int, int] | None, ...]


@dataclass(frozen=True, slots=True)
class Presented:
    """What is known of a certificate. `pin` identifies its key (pins.py), `ends` is notAfter."""

    pin: str
    ends: datetime


class Certificate:
    """A chain of certificates and its private key, read from files in PEM; `reload` reads them again.

    Connections that are open keep the certificate that they began with. `key` may be the same file. Raises
    SettingsError that names the file.
    """

    def __init__(self, chain: str, key: str, protocols: Sequence[str]) -> None:
        """`protocols` are the names of ALPN (RFC 7301) that are offered, the preferred one first."""
        self.chain = chain
        self.key = key
        self._protocols = protocols
        self.context = self._context()
        self.presented = _presented(chain)

    def reload(self) -> None:
        """Files that cannot be used change nothing. Raises SettingsError."""
        self._context()  # half a pair in the context that is in use would refuse everybody
        self._load(self.context)
        self.presented = _presented(self.chain)

    def stamp(self) -> Stamp:
        """Equal to another one while neither file has been written."""
        return tuple(_stamp(path) for path in (self.chain, self.key))

    def _context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(_CIPHERS)
        context.options |= ssl.OP_NO_RENEGOTIATION  # RFC 9113 section 9.2.1
        context.set_alpn_protocols(list(self._protocols))
        self._load(context)
        return context

    def _load(self, context: ssl.SSLContext) -> None:
        for path in (self.chain, self.key):
            try:
                open(path, "rb").close()
            except (OSError, ValueError) as error:  # ValueError: a zero byte in the path
                reason = error.strerror if isinstance(error, OSError) else error
                raise SettingsError(path, f"cannot be read: {reason}") from None
        try:
            context.load_cert_chain(self.chain, self.key, password=_no_password)
        except ssl.SSLError as error:
            if error.reason == "KEY_VALUES_MISMATCH":
                raise SettingsError(self.key, f"is not the key of {self.chain}") from None
            raise SettingsError(self.chain, f"no certificate and key in PEM, together with {self.key}") from None


def _no_password() -> str:
    """OpenSSL would ask the terminal."""
    raise SettingsError("the key", "must not be encrypted: there is nobody to ask for its password")


def _presented(chain: str) -> Presented | None:
    """None for a certificate that OpenSSL takes and `cryptography`, which is stricter, does not."""
    from cryptography import x509

    try:
        with open(chain, "rb") as file:
            leaf = x509.load_pem_x509_certificates(file.read())[0]
        return Presented(pin_of(leaf), leaf.not_valid_after_utc)
    except (OSError, ValueError):
        return None


def _stamp(path: str) -> tuple[int, int, int] | None:
    try:
        found = os.stat(path)  # follows links: certbot and Kubernetes exchange these
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
