"""The files of a certificate: read, read again, and what may be wrong with them."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

from pog.errors import SettingsError
from pog.net.certificate import Certificate
from tests.helpers.tls import Authority

if TYPE_CHECKING:
    from pathlib import Path

PROTOCOLS = ("http/1.1",)


def made(authority: Authority) -> Certificate:
    return Certificate(str(authority.cert_file), str(authority.key_file), PROTOCOLS)


def handshake(server: ssl.SSLContext, authority: Authority) -> str | None:
    """The protocol that ALPN agrees on. Raises SSLError for a certificate of another authority."""
    context = authority.user_context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    user = context.wrap_bio(down, up, server_hostname="localhost")
    ours = server.wrap_bio(up, down, server_side=True)
    for _ in range(4):
        for side in (user, ours):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return user.selected_alpn_protocol()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def other(tmp_path: Path) -> Authority:
    (tmp_path / "other").mkdir()
    return Authority(tmp_path / "other")


def test_it_is_presented(authority: Authority) -> None:
    assert handshake(made(authority).context, authority) == "http/1.1"


def test_chain_and_key_in_one_file(authority: Authority) -> None:
    with authority.cert_file.open("ab") as file:
        file.write(authority.key_file.read_bytes())
    path = str(authority.cert_file)
    assert handshake(Certificate(path, path, PROTOCOLS).context, authority)


def test_reload_serves_new_connections_with_new_files(authority: Authority, other: Authority) -> None:
    certificate = made(authority)
    authority.cert_file.write_bytes(other.cert_file.read_bytes())
    authority.key_file.write_bytes(other.key_file.read_bytes())
    certificate.reload()
    assert handshake(certificate.context, other)
    with pytest.raises(ssl.SSLError):
        handshake(certificate.context, authority)


def test_half_a_pair_changes_nothing(authority: Authority, other: Authority) -> None:
    certificate = made(authority)
    authority.cert_file.write_bytes(other.cert_file.read_bytes())
    with pytest.raises(SettingsError, match=f"{authority.key_file}: is not the key of {authority.cert_file}"):
        certificate.reload()
    assert handshake(certificate.context, authority)


def test_what_is_no_pem(authority: Authority) -> None:
    authority.cert_file.write_bytes(b"hello")
    with pytest.raises(SettingsError, match=f"{authority.cert_file}: no certificate and key in PEM"):
        made(authority)


@pytest.mark.parametrize("which", ["cert_file", "key_file"])
def test_a_file_that_is_missing_is_named(authority: Authority, which: str) -> None:
    path: Path = getattr(authority, which)
    path.unlink()
    with pytest.raises(SettingsError, match=f"{path}: cannot be read: No such file"):
        made(authority)


def test_an_encrypted_key_does_not_ask_the_terminal(authority: Authority) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    authority.key_file.write_bytes(secret)
    with pytest.raises(SettingsError, match="must not be encrypted"):
        made(authority)


def test_a_name_of_the_wrong_kind_is_no_traceback() -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        Certificate("a\0b", "a\0b", PROTOCOLS)
