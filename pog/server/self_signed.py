"""A key and a certificate of the server's own, for a first try. They stay in one file, so that clients that know the
key by its pin (net/pins.py) know the server again after a restart."""

from __future__ import annotations

import ipaddress
import os
import secrets
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from pog.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Sequence

# A pinned key needs no end, but a certificate has one. At a start that is near to it the same key gets a new one.
_LIFETIME = timedelta(days=3650)
_RENEWED_BEFORE = timedelta(days=30)
# Clocks differ.
_BACKDATED = timedelta(days=1)


def default_path() -> str:
    """The file in the place of the user's state: $XDG_STATE_HOME/pog/server.pem, or what the system has for that."""
    import platformdirs

    return os.path.join(platformdirs.user_state_dir("pog", appauthor=False), "server.pem")


def ensure(path: str, names: Sequence[str], now: datetime | None = None) -> None:
    """Makes the file, or leaves it as it is: a key that is there stays. `names` are hosts and addresses for the
    certificate. Raises SettingsError."""
    now = now or datetime.now(UTC)
    try:
        try:
            with open(path, "rb") as file:
                found = file.read()
        except FileNotFoundError:
            os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
            _write_new(path, _pem(ec.generate_private_key(ec.SECP256R1()), names, now))
            return
        key, ends = _parsed(path, found)
        if ends - now < _RENEWED_BEFORE:
            _replace(path, _pem(key, names, now))
    except OSError as error:
        problem = f"keeps its key in {path}: {error.strerror}; XDG_STATE_HOME names another folder"
        raise SettingsError("SERVER_TLS_SELF_SIGNED", problem) from None


def _parsed(path: str, pem: bytes) -> tuple[ec.EllipticCurvePrivateKey, datetime]:
    try:
        key = load_pem_private_key(pem, None)
        ends = x509.load_pem_x509_certificate(pem).not_valid_after_utc
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise SettingsError(
            path, "holds no key and certificate of `--tls-self-signed`; remove it for new ones"
        ) from None
    return key, ends


def _pem(key: ec.EllipticCurvePrivateKey, names: Sequence[str], now: datetime) -> bytes:
    """The key and its certificate, which is no authority (RFC 5280 section 4.2.1.9): who trusts it trusts nothing
    that it would sign."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "pog server")])
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    usage = x509.KeyUsage(True, *[False] * 8)  # digital signature
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + _LIFETIME)
        .add_extension(x509.SubjectAlternativeName(_general_names(names)), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(identifier, critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
    )
    certificate = builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + certificate


def _general_names(names: Sequence[str]) -> list[x509.GeneralName]:
    """Of what can be in a certificate: a machine's own name may be anything."""
    found: list[x509.GeneralName] = []
    for name in names:
        try:
            found.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            with suppress(ValueError):
                found.append(x509.DNSName(name.encode("idna").decode()))
    return found


def _write_new(path: str, pem: bytes) -> None:
    """Of two programs that start at once the first one's key counts."""
    temporary = _temporary(path, pem)
    try:
        with suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        os.unlink(temporary)


def _replace(path: str, pem: bytes) -> None:
    os.replace(_temporary(path, pem), path)


def _temporary(path: str, pem: bytes) -> str:
    temporary = f"{path}.{secrets.token_hex(8)}"
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(pem)
    return temporary
