"""The pin of a certificate: the SHA-256 of its key, by which a client knows a server without an authority. [pure]

It is written as curl's --pinnedpubkey: sha256//BASE64. What is hashed is the SubjectPublicKeyInfo (RFC 7469 section
2.4), so that a new certificate for the same key keeps the pin.
"""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

PREFIX = "sha256//"


def pin_of(certificate: Certificate) -> str:
    """Raises ValueError for a key of a kind that is not known."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    try:
        key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except UnsupportedAlgorithm as error:
        raise ValueError(str(error)) from None
    return PREFIX + base64.b64encode(hashlib.sha256(key).digest()).decode()


def pin_of_der(certificate: bytes) -> str:
    """Of what a peer has presented. Raises ValueError."""
    from cryptography import x509

    return pin_of(x509.load_der_x509_certificate(certificate))


def parse_pin(text: str) -> str:
    """Raises ValueError."""
    if not text.startswith(PREFIX):
        raise ValueError(text)
    digest = base64.b64decode(text.removeprefix(PREFIX), validate=True)
    if len(digest) != hashlib.sha256().digest_size:
        raise ValueError(text)
    return PREFIX + base64.b64encode(digest).decode()
