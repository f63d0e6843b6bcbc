"""A throw-away certificate authority, and the origin's and a user's side of TLS under it."""

from __future__ import annotations

import ipaddress
import ssl
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from pathlib import Path

    from tests.helpers.user import Answer

NAMES = ("localhost", "127.0.0.1", "::1")


class Authority:
    """Signs one server certificate for loopback; its files are in `folder`."""

    def __init__(self, folder: Path) -> None:
        ca = trustme.CA()
        self._cert = ca.issue_cert(*NAMES)
        self.ca_file = folder / "ca.pem"
        self.cert_file = folder / "cert.pem"
        self.key_file = folder / "key.pem"
        ca.cert_pem.write_to_path(str(self.ca_file))
        self._cert.private_key_pem.write_to_path(str(self.key_file))
        self.cert_file.write_bytes(b"".join(blob.bytes() for blob in self._cert.cert_chain_pems))

    def server_context(self, *alpn: str) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._cert.configure_cert(context)
        if alpn:
            context.set_alpn_protocols(alpn)
        return context

    def user_context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.ca_file))


class PlainAuthority:
    """What `openssl req -x509 -subj /CN=Mine` and `openssl x509 -req` make: an authority without Key Usage, and a
    certificate for loopback without the identifier of its authority's key. RFC 5280 wants both, Python 3.13 asks."""

    def __init__(self, folder: Path) -> None:
        ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        mine = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Mine")])
        subject_key = x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key())
        names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        ca = _unsigned(mine, mine, ca_key).add_extension(
            x509.BasicConstraints(ca=True, path_length=None), critical=True
        )
        cert = _unsigned(x509.Name([]), mine, key).add_extension(x509.SubjectAlternativeName(names), critical=True)
        self.ca_file = folder / "ca.pem"
        self.cert_file = folder / "cert.pem"
        self.key_file = folder / "key.pem"
        for file, builder in ((self.ca_file, ca.add_extension(subject_key, critical=False)), (self.cert_file, cert)):
            file.write_bytes(builder.sign(ca_key, hashes.SHA256()).public_bytes(Encoding.PEM))
        self.key_file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def _unsigned(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number())
    return builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))


def tls_exchange(tunnel: Answer, context: ssl.SSLContext, host: str, request: bytes) -> bytes:
    """TLS with the origin inside a tunnel: sends `request`, gives back all of the answer."""
    assert not tunnel.rest
    with context.wrap_socket(tunnel.sock, server_hostname=host) as secure:
        secure.sendall(request)
        data = bytearray()
        while part := secure.recv(1 << 16):
            data += part
        return bytes(data)
