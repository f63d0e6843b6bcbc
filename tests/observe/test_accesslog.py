import contextlib
import io
import json
import os
import re
import time
from collections.abc import Iterator
from typing import Any, cast

import pytest

from pog.errors import Failure, FailureKind
from pog.net.address import Destination  # noqa: TC001
from pog.observe.accesslog import AccessLog, rfc3339
from pog.observe.endings import Role
from pog.tunnel.ended import Ended, Reason, Side
from pog.tunnel.live import TunnelRecord
from pog.tunnel.request import User
from tests.helpers.relay import FakeRelay

REMOTE = "172.17.0.1:60748"


@pytest.fixture
def zone(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[None]:
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def made(
    destination: str = "ifconfig.me:443", user: str = "ilya", code: str = "200", status: int = 200, text: str = ""
) -> TunnelRecord:
    """`destination` is whatever somebody asked for."""
    record = TunnelRecord(REMOTE, "http", cast("Destination", destination), User(user), code=code, status=status)
    if text:
        record.failure = Failure(FailureKind.INTERNAL, text)
    return record


def opened(code: str = "200") -> TunnelRecord:
    record = made(code=code)
    record.opened_after = 0.25
    return record


def answered(visit: TunnelRecord, style: str = "line", *, is_open: bool = True) -> str:
    stream = io.StringIO()
    AccessLog(True, stream, style=style).answered(visit, opened=is_open)
    return stream.getvalue()


def ended(visit: TunnelRecord, relay: FakeRelay | None, role: Role = "client") -> dict[str, Any]:
    """The one record, which is one line, of a tunnel that was opened."""
    stream = io.StringIO()
    log = AccessLog(True, stream, role=role, style="json")
    log.answered(visit, opened=True)
    assert stream.getvalue() == ""
    visit.relay = relay.relay if relay else None
    log.ended(visit)
    assert stream.getvalue().count("\n") == 1
    return cast("dict[str, Any]", json.loads(stream.getvalue()))


@pytest.mark.parametrize("zone", ["UTC"], indirect=True)
def test_the_line_is_the_originals(zone: None) -> None:
    assert re.fullmatch(
        r"pog: ifconfig\.me:443 ilya HTTPS 172\.17\.0\.1:60748 \[\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\] 200\n",
        answered(opened()),
    )


@pytest.mark.parametrize(
    ("front", "in_line", "in_record"),
    [
        ("http", "HTTPS", "HTTP/1.1"),
        ("socks4", "SOCKS4", "SOCKS4"),
        ("socks5", "SOCKS5", "SOCKS5"),
        ("forward", "HTTP", "HTTP/1.1"),
        ("grpc", "HTTPS", "gRPC"),
        ("line", "LINE", "LINE"),
        ("unknown", "-", "-"),
    ],
)
def test_the_protocol_that_the_request_came_by(front: str, in_line: str, in_record: str) -> None:
    record = opened()
    record.front = front
    assert answered(record).split(" ")[3] == in_line
    said = ended(record, None)
    assert (said["httpRequest"]["protocol"], said["tunnel"]["front"]) == (in_record, front)


@pytest.mark.parametrize("zone", ["UTC"], indirect=True)
def test_a_tunnel_has_one_line_when_it_opens_and_one_when_it_has_ended(zone: None) -> None:
    record, stream, relay = opened(), io.StringIO(), FakeRelay(from_local=517, from_tunnel=6021)
    relay.ended = Ended(Reason.RESET, Side.TUNNEL, OSError("broken\npog: a:1 root HTTPS"), 517, 6021)
    log = AccessLog(True, stream, role="client")
    log.answered(record, opened=True)
    record.relay = relay.relay
    log.ended(record)
    first, second = stream.getvalue().splitlines()
    assert first.startswith("pog: ")
    assert re.fullmatch(
        r"pog ended: ifconfig\.me:443 ilya HTTPS 172\.17\.0\.1:60748 \[\S+Z\] 200"
        r" reset by server after \d+\.\d{3} s, 517 bytes up, 6021 down: broken\?pog: a:1 root HTTPS",
        second,
    )


def test_the_line_of_the_end_can_be_left_out() -> None:
    record, stream = opened(), io.StringIO()
    record.relay = FakeRelay().relay
    AccessLog(True, stream, ends=False).ended(record)
    assert stream.getvalue() == ""
    AccessLog(True, stream, ends=False, style="json").ended(record)
    assert json.loads(stream.getvalue())


def test_the_reason_of_a_refusal_stands_beside_the_line_and_is_bounded() -> None:
    first, second = answered(made(code="503", text="west: down\npog: b:2" + "x" * 5000), is_open=False).splitlines()
    assert first.endswith("] 503")
    assert second == first.replace("pog: ", "pog refused: ") + " west: down?pog: b:2" + "x" * 481


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


@pytest.mark.parametrize("style", ["line", "json"])
def test_nothing_is_written_when_switched_off(style: str) -> None:
    stream = io.StringIO()
    log = AccessLog(False, stream, style=style)
    log.answered(opened(), opened=False)
    log.ended(opened())
    assert stream.getvalue() == ""


FORGED = "a:1 root HTTPS x\npog: b:2\x1b[2J\u2028" + "x" * 5000


def test_a_stranger_cannot_forge_a_line() -> None:
    text = answered(made(FORGED, "", "OK"))
    assert text.startswith("pog: a:1?root?HTTPS?x?pog:?b:2?[2J?xxx")
    assert text.count("\n") == 1
    assert "- HTTPS" in text
    assert len(text) < 400


def test_nor_a_record() -> None:
    text = answered(made(FORGED, FORGED, "OK", 403, "no\n" * 5000), "json", is_open=False)
    assert text.isascii() and text.isprintable() is False and text.count("\n") == 1
    assert json.loads(text)["tunnel"]["destination"] == FORGED[:300]
    assert len(text) < 4096


def test_it_goes_to_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    AccessLog(True).answered(made(code="Unavailable"), opened=False)
    assert re.search(r"^pog: .*\] Unavailable\n", capsys.readouterr().out)


def test_the_record_of_a_tunnel_says_who_ended_it_and_what_it_moved() -> None:
    relay = FakeRelay(from_local=517, from_tunnel=6021)
    relay.first_byte = 0.125
    relay.ended = Ended(Reason.DONE, Side.LOCAL, None, 517, 6021)
    record = ended(opened(), relay)
    tunnel = record["tunnel"]
    seconds = tunnel.pop("duration_seconds")
    assert tunnel == {
        "role": "client",
        "destination": "ifconfig.me:443",
        "user": "ilya",
        "remote": REMOTE,
        "front": "http",
        "exit": "",
        "rule": "",
        "why": "",
        "forwarded_for": "",
        "code": "200",
        "reason": "done",
        "ended_by": "user",
        "error": "",
        "bytes_up": 517,
        "bytes_down": 6021,
        "handshake_seconds": 0.25,
        "first_byte_seconds": 0.125,
    }
    assert record["severity"] == "INFO"
    assert record["message"].startswith("ifconfig.me:443 ilya 172.17.0.1:60748 200 done by user after ")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", record["time"])
    assert record["httpRequest"] == {
        "requestMethod": "CONNECT",
        "requestUrl": "ifconfig.me:443",
        "status": 200,
        "requestSize": "517",
        "responseSize": "6021",
        "remoteIp": "172.17.0.1",
        "latency": f"{seconds:.6f}s",
        "protocol": "HTTP/1.1",
    }


def test_up_is_from_the_tunnel_on_a_server_and_a_break_is_told() -> None:
    relay = FakeRelay(from_local=6021, from_tunnel=517)
    relay.ended = Ended(Reason.RESET, Side.LOCAL, OSError("Connection reset by peer"), 6021, 517)
    call = opened("OK")
    call.front = "grpc"
    record = ended(call, relay, "server")
    tunnel = record["tunnel"]
    assert (tunnel["bytes_up"], tunnel["bytes_down"]) == (517, 6021)
    assert (tunnel["reason"], tunnel["ended_by"]) == ("reset", "destination")
    assert tunnel["error"] == "Connection reset by peer"
    assert record["message"].endswith(": Connection reset by peer")
    assert record["severity"] == "NOTICE"
    assert record["httpRequest"]["protocol"] == "gRPC"


@pytest.mark.parametrize(("relay", "by"), [(FakeRelay(), "pog"), (None, "")])
def test_a_tunnel_that_was_cancelled(relay: FakeRelay | None, by: str) -> None:
    tunnel = ended(opened(), relay)["tunnel"]
    assert (tunnel["reason"], tunnel["ended_by"]) == ("cancelled", by)


@pytest.mark.parametrize(("status", "severity"), [(407, "WARNING"), (403, "WARNING"), (504, "WARNING"), (500, "ERROR")])
def test_a_refusal_is_told_at_once_and_says_why(status: int, severity: str) -> None:
    visit = made(code=str(status), status=status, text="because")
    visit.remote = "[::1]:5"
    record = json.loads(answered(visit, "json", is_open=False))
    assert record["severity"] == severity
    assert record["httpRequest"]["status"] == status
    assert record["httpRequest"]["remoteIp"] == "::1"
    assert (record["tunnel"]["reason"], record["tunnel"]["error"]) == ("refused", "because")


def test_the_trace_of_a_request_and_the_front_ends_word_for_its_client() -> None:
    visit = opened()
    trace = "0af7651916cd43dd8448eb211c80319c"
    visit.metadata = {"traceparent": f"00-{trace}-b7ad6b7169203331-01", "x-forwarded-for": "203.0.113.7"}
    record = ended(visit, FakeRelay(), "server")
    assert record["logging.googleapis.com/trace"] == trace
    assert record["tunnel"]["forwarded_for"] == "203.0.113.7"


@pytest.mark.parametrize("style", ["line", "json"])
def test_a_reader_that_has_stopped_stops_nobody(style: str) -> None:
    """A pipe holds 64 KiB: what does not fit is dropped and counted, and later records come whole."""
    dropped = 0

    def on_dropped() -> None:
        nonlocal dropped
        dropped += 1

    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as stream, os.fdopen(reader) as lines:
        log = AccessLog(True, stream, style=style, on_dropped=on_dropped)
        for _ in range(2000):
            log.answered(opened(), opened=style == "line")
        assert 0 < dropped < 2000
        for _ in range(2000 - dropped):
            assert lines.readline().endswith("\n")
        before = dropped
        log.answered(opened(), opened=style == "line")
        assert dropped == before


def test_a_reader_that_is_gone_stops_nobody() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    stream = os.fdopen(writer, "w")
    log = AccessLog(True, stream)
    for _ in range(2):
        log.answered(opened(), opened=True)
    with contextlib.suppress(BrokenPipeError):
        stream.close()
