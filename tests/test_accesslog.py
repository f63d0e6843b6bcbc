import io
import re
import time
from collections.abc import Iterator

import pytest

from pog.accesslog import AccessLog, rfc3339


@pytest.fixture
def zone(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[None]:
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize("zone", ["UTC"], indirect=True)
def test_the_line_is_the_originals(zone: None) -> None:
    stream = io.StringIO()
    AccessLog(True, stream).tunnel("ifconfig.me:443", "ilya", "172.17.0.1:60748", 200)
    assert re.fullmatch(
        r"pog: ifconfig\.me:443 ilya HTTPS 172\.17\.0\.1:60748 \[\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\] 200\n",
        stream.getvalue(),
    )


# 2024-06-15 12:53:42 UTC; TZ counts westward.
@pytest.mark.parametrize(
    ("zone", "text"),
    [
        ("UTC", "2024-06-15T12:53:42Z"),
        ("MSK-3", "2024-06-15T15:53:42+03:00"),
        ("IST-5:30", "2024-06-15T18:23:42+05:30"),
        ("NST3:30", "2024-06-15T09:23:42-03:30"),
    ],
    indirect=["zone"],
)
def test_time_is_local_and_says_its_offset(zone: None, text: str) -> None:
    assert rfc3339(1718456022.9) == text


def test_nothing_is_written_when_switched_off() -> None:
    stream = io.StringIO()
    AccessLog(False, stream).tunnel("a:1", "-", "-", "OK")
    assert stream.getvalue() == ""


def test_a_stranger_cannot_forge_a_line() -> None:
    stream = io.StringIO()
    AccessLog(True, stream).tunnel("a:1 root HTTPS x\npog: b:2\x1b[2J" + "x" * 5000, "", "::1", "OK")
    text = stream.getvalue()
    assert text.startswith("pog: a:1?root?HTTPS?x?pog:?b:2?[2Jxxx")
    assert text.count("\n") == 1
    assert " - HTTPS ::1 [" in text
    assert len(text) < 400


def test_it_goes_to_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    AccessLog(True).tunnel("a:1", "-", "-", "Unavailable")
    assert capsys.readouterr().out.endswith("] Unavailable\n")


class Gone(io.StringIO):
    def flush(self) -> None:
        raise BrokenPipeError


def test_a_reader_that_has_gone_ends_the_log_and_nothing_else() -> None:
    stream = Gone()
    log = AccessLog(True, stream)
    log.tunnel("a:1", "-", "-", 200)
    log.tunnel("b:2", "-", "-", 200)
    assert "b:2" not in stream.getvalue()
