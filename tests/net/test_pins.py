"""The pin of a key is what curl and openssl compute."""

from __future__ import annotations

import base64
import hashlib
import subprocess
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from pog.net.pins import parse_pin, pin_of, pin_of_der
from tests.helpers.tls import PlainAuthority

if TYPE_CHECKING:
    from pathlib import Path

    from tests.helpers.tls import Authority

PIN = "sha256//" + base64.b64encode(hashlib.sha256(b"x").digest()).decode()


def test_it_is_the_hash_of_the_public_key(authority: Authority) -> None:
    """The recipe in curl's manual for --pinnedpubkey."""
    pem = authority.cert_file.read_bytes()
    public = subprocess.run(["openssl", "x509", "-pubkey", "-noout"], input=pem, capture_output=True, check=True).stdout
    command = ["openssl", "pkey", "-pubin", "-outform", "der"]
    der = subprocess.run(command, input=public, capture_output=True, check=True).stdout
    expected = "sha256//" + base64.b64encode(hashlib.sha256(der).digest()).decode()
    certificate = x509.load_pem_x509_certificate(pem)
    assert pin_of(certificate) == pin_of_der(certificate.public_bytes(Encoding.DER)) == expected


def test_another_key_has_another_pin(authority: Authority, tmp_path: Path) -> None:
    other = PlainAuthority(tmp_path)
    pins = {pin_of(x509.load_pem_x509_certificate(each.cert_file.read_bytes())) for each in (authority, other)}
    assert len(pins) == 2


def test_what_is_no_certificate() -> None:
    with pytest.raises(ValueError):
        pin_of_der(b"nothing")


def test_a_pin_is_read() -> None:
    assert parse_pin(PIN) == PIN


@pytest.mark.parametrize("text", ["", PIN[:-4], PIN[8:], f"{PIN}=", "sha256//%%%", "sha1//" + PIN[8:], f"{PIN} "])
def test_what_is_no_pin(text: str) -> None:
    with pytest.raises(ValueError):
        parse_pin(text)
