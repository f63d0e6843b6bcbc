"""A key of the server's own: it stays, nobody else reads it, and its certificate is renewed."""

from __future__ import annotations

import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography import x509

from pog.errors import SettingsError
from pog.net.certificate import Certificate
from pog.server.self_signed import default_path, ensure

if TYPE_CHECKING:
    from pathlib import Path

NAMES = ["127.0.0.1", "localhost", "::1", "büro", "not a name" * 30]


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "pog" / "server.pem")


def pin(path: str) -> str:
    presented = Certificate(path, path, ("h2",)).presented
    assert presented is not None
    return presented.pin


def test_the_key_stays(path: str) -> None:
    ensure(path, NAMES)
    with open(path, "rb") as file:
        before = file.read()
    ensure(path, ["other"])
    with open(path, "rb") as file:
        assert file.read() == before


def test_nobody_else_reads_it(path: str, tmp_path: Path) -> None:
    ensure(path, NAMES)
    (found,) = (tmp_path / "pog").iterdir()
    assert stat.S_IMODE(found.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "pog").stat().st_mode) == 0o700


def test_a_certificate_near_its_end_is_renewed_for_the_same_key(path: str) -> None:
    ensure(path, NAMES, datetime.now(UTC) - timedelta(days=3650 - 29))
    first, before = Certificate(path, path, ("h2",)).presented, pin(path)
    ensure(path, NAMES)
    second = Certificate(path, path, ("h2",)).presented
    assert first is not None and second is not None
    assert pin(path) == before
    assert second.ends > first.ends + timedelta(days=3000)


def test_what_is_in_it(path: str) -> None:
    """No authority: what it would sign is trusted by nobody who trusts it."""
    ensure(path, NAMES)
    with open(path, "rb") as file:
        certificate = x509.load_pem_x509_certificate(file.read())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost", "xn--bro-hoa"]
    assert [str(each) for each in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "::1"]
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


@pytest.mark.parametrize("content", ["", "hello", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_another_file_in_its_place_is_left_alone(path: str, tmp_path: Path, content: str) -> None:
    (tmp_path / "pog").mkdir()
    (tmp_path / "pog" / "server.pem").write_text(content)
    with pytest.raises(SettingsError, match=f"^{path}: holds no key and certificate"):
        ensure(path, NAMES)
    assert (tmp_path / "pog" / "server.pem").read_text() == content


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    path = str(tmp_path / "file" / "server.pem")
    with pytest.raises(SettingsError, match="^SERVER_TLS_SELF_SIGNED: .*server.pem: .*XDG_STATE_HOME"):
        ensure(path, NAMES)


def test_of_several_that_start_at_once_one_key_counts(path: str, tmp_path: Path) -> None:
    code = f"from pog.server.self_signed import ensure; ensure({path!r}, ['localhost']); print(open({path!r}).read())"
    started = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) for _ in range(4)]
    assert len({process.communicate()[0] for process in started}) == 1
    assert [each.name for each in (tmp_path / "pog").iterdir()] == ["server.pem"]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have other places")
def test_the_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/var/lib/pog-state")
    assert default_path() == "/var/lib/pog-state/pog/server.pem"
