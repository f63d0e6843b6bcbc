"""A certificate that is kept fresh: read again when its files have settled, and warned of before it ends."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography import x509

from pog.net.certificate import Certificate
from pog.net.renewal import Renewal
from tests.helpers.tls import Authority

if TYPE_CHECKING:
    from pathlib import Path

SECONDS = 10.0
DAY = timedelta(days=1)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def other(tmp_path: Path) -> Authority:
    (tmp_path / "other").mkdir()
    return Authority(tmp_path / "other")


@pytest.fixture
def certificate(authority: Authority) -> Certificate:
    return Certificate(str(authority.cert_file), str(authority.key_file), ("h2",))


@pytest.fixture(autouse=True)
def every_message(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "pog")


def pin(certificate: Certificate) -> str:
    assert certificate.presented is not None
    return certificate.presented.pin


def write(source: Authority, target: Authority, *names: str) -> None:
    """As certbot and Kubernetes do: another file in the place of the old one."""
    for name in names or ("cert_file", "key_file"):
        new: Path = getattr(target, name).with_suffix(".new")
        new.write_bytes(getattr(source, name).read_bytes())
        new.rename(getattr(target, name))


def test_what_is_known_of_it(authority: Authority, certificate: Certificate) -> None:
    assert certificate.presented is not None
    leaf = x509.load_pem_x509_certificate(authority.cert_file.read_bytes())
    assert certificate.presented.ends == leaf.not_valid_after_utc
    assert certificate.presented.pin.startswith("sha256//")


def test_files_that_stay_the_same_are_not_read(certificate: Certificate, caplog: pytest.LogCaptureFixture) -> None:
    renewal = Renewal(certificate)
    for _ in range(3):
        renewal.looked(certificate.stamp())
    assert caplog.messages == []


def test_new_files_are_read_when_they_have_been_the_same_twice(
    authority: Authority, other: Authority, certificate: Certificate, caplog: pytest.LogCaptureFixture
) -> None:
    before, renewal = pin(certificate), Renewal(certificate)
    write(other, authority, "cert_file")
    renewal.looked(certificate.stamp())  # half of the pair
    write(other, authority, "key_file")
    renewal.looked(certificate.stamp())
    assert pin(certificate) == before
    renewal.looked(certificate.stamp())
    assert pin(certificate) != before
    renewal.looked(certificate.stamp())
    assert caplog.messages == [f"changed: the certificate was read again from {authority.cert_file}"]


def test_what_cannot_be_used_is_said_once_and_mended_later(
    authority: Authority, other: Authority, certificate: Certificate, caplog: pytest.LogCaptureFixture
) -> None:
    before, renewal = pin(certificate), Renewal(certificate)
    write(other, authority, "cert_file")
    for _ in range(4):
        renewal.looked(certificate.stamp())
    assert caplog.messages == [
        f"changed: the certificate stays as it was: {authority.key_file}: is not the key of {authority.cert_file}"
    ]
    assert pin(certificate) == before
    authority.key_file.unlink()
    for _ in range(2):
        renewal.looked(certificate.stamp())
    write(other, authority, "key_file")
    for _ in range(2):
        renewal.looked(certificate.stamp())
    assert pin(certificate) != before


def test_it_warns_once_a_day_from_two_weeks_before_the_end(
    certificate: Certificate, caplog: pytest.LogCaptureFixture
) -> None:
    assert certificate.presented is not None
    ends = certificate.presented.ends
    now = ends
    renewal = Renewal(certificate, now=lambda: now)
    said = []
    for days in (-14.001, -13.5, -13, -12.4, 0, 0.5, 1):
        caplog.clear()
        now = ends + days * DAY
        renewal.looked(certificate.stamp())
        said.append([(record.levelname, record.message.partition(" ends ")[2][:10]) for record in caplog.records])
    warned = [[("WARNING", "in 13 days")], [], [("WARNING", "in 12 days")]]
    assert said == [[], *warned, [("ERROR", "")], [], [("ERROR", "")]]


def test_a_new_certificate_that_ends_soon_is_said_at_once(
    authority: Authority, other: Authority, certificate: Certificate, caplog: pytest.LogCaptureFixture
) -> None:
    assert certificate.presented is not None
    late = certificate.presented.ends + DAY
    renewal = Renewal(certificate, now=lambda: late)
    renewal.looked(certificate.stamp())
    write(other, authority)
    for _ in range(2):
        renewal.looked(certificate.stamp())
    assert [record.levelname for record in caplog.records] == ["ERROR", "INFO", "ERROR"]


def test_only_one_of_several_processes_warns(certificate: Certificate, caplog: pytest.LogCaptureFixture) -> None:
    Renewal(certificate, warns=False, now=lambda: datetime.now(UTC) + 36500 * DAY).looked(certificate.stamp())
    assert caplog.messages == []


async def test_a_thread_looks_at_the_files(authority: Authority, other: Authority, certificate: Certificate) -> None:
    before, renewal = pin(certificate), Renewal(certificate, interval=0.01)
    renewal.start()
    try:
        write(other, authority)
        async with asyncio.timeout(SECONDS):
            while pin(certificate) == before:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
    finally:
        renewal.stop()
    async with asyncio.timeout(SECONDS):
        while any(thread.name == "certificate" for thread in threading.enumerate()):  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def test_sighup(authority: Authority, other: Authority, certificate: Certificate) -> None:
    before, renewal = pin(certificate), Renewal(certificate)
    renewal.start()
    try:
        write(other, authority)
        os.kill(os.getpid(), signal.SIGHUP)
        async with asyncio.timeout(SECONDS):
            while pin(certificate) == before:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
    finally:
        renewal.stop()
