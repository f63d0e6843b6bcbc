"""The client's side of TLS: which authorities are trusted, and how a certificate is checked.

OpenSSL takes the system's authorities, or those of the variables SSL_CERT_FILE and SSL_CERT_DIR, and passes over in
silence what it cannot read there; every certificate would be refused later, without a word about the file. So these
variables are looked at here, as is SSLKEYLOGFILE, which Python reads: a wrong one ends the start with its name.
"""

from __future__ import annotations

import os
import re
import ssl
from typing import TYPE_CHECKING

from pog.config.files import decode, read_bytes
from pog.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping

_CERT_FILE, _CERT_DIR, _KEY_LOG = "SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE"
_CA_FILE = "SERVER_CA_FILE"

# RFC 7468 section 5, with the older labels that OpenSSL reads too.
_CERTIFICATE = re.compile(r"-----BEGIN ((?:X509 |TRUSTED )?CERTIFICATE)-----.*?-----END \1-----", re.DOTALL)


def client_context(*, verify: bool, ca_file: str = "", environ: Mapping[str, str] = os.environ) -> ssl.SSLContext:
    """For HTTP/2 to a server; `ca_file` takes the place of the system's authorities. Raises SettingsError that names
    the variable, and the file."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_alpn_protocols(["h2"])
    if verify:
        _trust(context, ca_file, environ)
    else:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if path := environ.get(_KEY_LOG):
        try:
            context.keylog_filename = path
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise SettingsError(_KEY_LOG, f"{path} cannot be written: {reason}") from None
    return context


def _trust(context: ssl.SSLContext, ca_file: str, environ: Mapping[str, str]) -> None:
    # Python 3.13 sets both flags for its default context, 3.11 neither. Not VERIFY_X509_STRICT: it refuses certificates
    # without an Authority Key Identifier and authorities without Key Usage (RFC 5280 4.2.1.1 and 4.2.1.3), which is
    # what `openssl req -x509` and `openssl x509 -req` make unless told otherwise, and Go accepts those. But an
    # intermediate authority that is trusted is trusted, as in Go.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    if ca_file:
        _load(context, _CA_FILE, ca_file)
        return
    if path := environ.get(_CERT_FILE):
        _load(context, _CERT_FILE, path)
    if (paths := environ.get(_CERT_DIR)) and not any(map(os.path.isdir, paths.split(os.pathsep))):
        raise SettingsError(_CERT_DIR, f"must be a directory of certificates; there is none at {paths}")
    context.load_default_certs(ssl.Purpose.SERVER_AUTH)


def _load(context: ssl.SSLContext, name: str, path: str) -> None:
    """OpenSSL reads no UTF-16, and not the first certificate behind a byte order mark."""
    form = "must be a file of certificates in PEM"
    try:
        data = read_bytes(path)
    except SettingsError as error:
        raise SettingsError(name, f"{form}: {error}") from None
    try:
        text = decode(data)
    except UnicodeDecodeError:
        text = data.decode("latin-1")  # names in comments may be in any encoding
    certificates = [found[0] for found in _CERTIFICATE.finditer(text)]
    if not certificates:
        raise SettingsError(name, f"{form}; there is none in {path}")
    for number, certificate in enumerate(certificates, 1):
        try:
            context.load_verify_locations(cadata=certificate.encode("ascii").decode())
        except (ssl.SSLError, ValueError):
            raise SettingsError(name, f"{form}; number {number} in {path} is malformed") from None
