"""Which authorities the client trusts; what each version of Python would do by itself makes no difference."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import pytest

from pog.client.exits.connect import Target
from pog.client.exits.tls import client_context
from pog.config.exits import ServerExit
from pog.errors import SettingsError
from pog.net.address import Address

if TYPE_CHECKING:
    from pathlib import Path

    from tests.helpers.tls import Authority


def test_the_flags_are_the_same_on_every_version() -> None:
    flags = client_context(verify=True, environ={}).verify_flags
    assert not flags & ssl.VERIFY_X509_STRICT
    assert flags & ssl.VERIFY_X509_PARTIAL_CHAIN


def test_no_verification_needs_no_authorities() -> None:
    context = client_context(verify=False, environ={"SSL_CERT_FILE": "/nonexistent", "SSL_CERT_DIR": "/nonexistent"})
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_NONE, False)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
def test_authorities_in_any_usual_encoding(authority: Authority, tmp_path: Path, encoding: str) -> None:
    """OpenSSL alone reads no UTF-16, and skips the first certificate behind a mark."""
    path = tmp_path / "ca.pem"
    pem = authority.ca_file.read_text()
    path.write_text(f"{pem}\n# Autorité\n", encoding)
    assert "trustme" in str(client_context(verify=True, environ={"SSL_CERT_FILE": str(path)}).get_ca_certs())


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "ca.pem: cannot be read: No such file or directory"),
        ("", "there is none in "),
        ("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "there is none in "),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "number 1 in "),
        ("-----BEGIN CERTIFICATE-----\né\n-----END CERTIFICATE-----\n", "number 1 in "),
    ],
)
def test_a_file_that_is_none_of_certificates_is_named(tmp_path: Path, content: str | None, problem: str) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    with pytest.raises(SettingsError, match=problem) as caught:
        client_context(verify=True, environ={"SSL_CERT_FILE": str(path)})
    assert caught.value.name == "SSL_CERT_FILE"
    assert str(path) in caught.value.problem


def test_a_directory_is_named_when_none_of_them_exists(tmp_path: Path) -> None:
    client_context(verify=True, environ={"SSL_CERT_DIR": f"/nonexistent:{tmp_path}"})
    with pytest.raises(SettingsError, match="^SSL_CERT_DIR: .*/nonexistent:/nowhere"):
        client_context(verify=True, environ={"SSL_CERT_DIR": "/nonexistent:/nowhere"})


def test_the_key_log_is_written_or_named(tmp_path: Path) -> None:
    context = client_context(verify=False, environ={"SSLKEYLOGFILE": str(tmp_path / "keys")})
    assert context.keylog_filename == str(tmp_path / "keys")
    for path, reason in ((str(tmp_path), "Is a directory"), ("/nonexistent/x", "No such file or directory")):
        with pytest.raises(SettingsError, match=f"^SSLKEYLOGFILE: {path} cannot be written: {reason}$"):
            client_context(verify=True, environ={"SSLKEYLOGFILE": path})


def test_a_file_of_authorities_takes_the_place_of_all_others(authority: Authority) -> None:
    environ = {"SSL_CERT_FILE": "/nonexistent", "SSL_CERT_DIR": "/nonexistent"}
    context = client_context(verify=True, ca_file=str(authority.ca_file), environ=environ)
    (trusted,) = context.get_ca_certs()
    assert "trustme" in str(trusted)
    with pytest.raises(SettingsError, match="^SERVER_CA_FILE: must be a file of certificates in PEM: /nonexistent: "):
        client_context(verify=True, ca_file="/nonexistent", environ={})


PIN = "sha256//" + 43 * "A" + "="


@pytest.mark.parametrize(
    ("ca", "pins", "skip", "verifies"),
    [
        (False, (), False, True),
        (True, (), False, True),
        (False, (PIN,), False, False),
        (True, (PIN,), False, True),
        (True, (PIN,), True, False),
    ],
)
def test_a_pin_alone_stands_for_everything_else(
    authority: Authority, ca: bool, pins: tuple[str, ...], skip: bool, verifies: bool
) -> None:
    ca_file = str(authority.ca_file) if ca else ""
    exit = ServerExit(name="a", server=Address("a", 1), ca_file=ca_file, fingerprint=pins, skip_verify=skip)
    target = Target.of(exit)
    assert target.tls is not None
    assert target.tls.check_hostname is verifies
    assert target.pins == pins


@pytest.mark.parametrize(("ca_file", "pins"), [("/x", ()), ("", (PIN,))])
def test_what_cannot_be_checked_without_tls_is_an_error(ca_file: str, pins: tuple[str, ...]) -> None:
    exit = ServerExit(name="west", server=Address("a", 1), insecure=True, ca_file=ca_file, fingerprint=pins)
    with pytest.raises(SettingsError, match="^exit west: is without TLS"):
        Target.of(exit)
