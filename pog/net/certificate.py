"""The certificate of a listening socket."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from pog.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Sequence


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

    def reload(self) -> None:
        """Files that cannot be used change nothing. Raises SettingsError."""
        self._context()  # half a pair in the context that is in use would refuse everybody
        self._load(self.context)

    def _context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
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
