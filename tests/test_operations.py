"""docs/operations.md tells every metric, every reason and every field of the log, and none that does not exist."""

from __future__ import annotations

import io
import json
import logging
import re
from typing import Any

from pog.observe.accesslog import AccessLog
from pog.observe.endings import ENDED_BY
from pog.observe.jsonlog import JsonFormatter
from pog.tunnel.ended import Reason
from pog.tunnel.live import TunnelRecord
from tests.helpers.names import metrics
from tests.helpers.process import ROOT
from tests.helpers.relay import FakeRelay

GUIDE = (ROOT / "docs" / "operations.md").read_text()


def section(title: str) -> str:
    """The text under a heading, up to the next one."""
    _, _, rest = GUIDE.partition(f"\n{title}\n")
    assert rest, title
    return re.split(r"\n#", rest)[0]


def first_column(title: str) -> list[str]:
    """What stands in backticks in the first column of the tables there."""
    return re.findall(r"^\| `([^`]+)` \|", section(title), re.MULTILINE)


def test_every_metric_is_told_once() -> None:
    told = first_column("## Metrics")
    assert sorted(told) == sorted(set(told))
    assert set(told) == set(metrics())


def test_the_ends_of_each_metric() -> None:
    found = dict(re.findall(r"^\| `(\w+)` \| (both|server|client) \|", section("## Metrics"), re.MULTILINE))
    assert found.keys() == metrics().keys()
    for name, end in found.items():
        if name.startswith(("grpc_io_server", "dial")):
            assert end == "server", name
        elif name.startswith(("grpc_io_client", "server_", "waiting", "exit_")):
            assert end == "client", name
        else:
            assert end == "both", name


def test_whatever_else_is_named_exists() -> None:
    """Names in prose and in the tables of symptoms; words with an underscore that are no metric are listed here."""
    words = {"half_closed", "bad_address", "ended_by", "server_addr", "not_2XX", "first_byte_seconds", "stack_trace"}
    prose = GUIDE.replace(section("## Behind a front"), "")  # where names are other programs' settings
    named = {name for code in re.findall(r"`([^`]+)`", prose) for name in re.findall(r"\b[a-z0-9]+_[a-z0-9_]+\b", code)}
    fields = {part for field in first_column("### `LOG_FORMAT=json`") for part in re.split(r"[./]", field)}
    assert named - words - fields - {"grpc_io_"} - set(metrics()) == set()


def test_every_reason_is_told() -> None:
    assert set(first_column("### Reasons")) == {reason.value for reason in Reason}
    by = {name for ends in ENDED_BY.values() for name in ends.values()}
    assert by <= set(re.findall(r"`([a-z]+)`", section("### Reasons")))


def keys(record: dict[str, Any]) -> set[str]:
    inner = {f"tunnel.{name}" for name in record.get("tunnel", ())}
    return (set(record) - {"tunnel"}) | inner


def test_every_field_of_the_log_is_told() -> None:
    stream = io.StringIO()
    record = TunnelRecord(
        "127.0.0.1:1", metadata={"traceparent": f"00-{'1' * 32}-{'2' * 16}-01"}, relay=FakeRelay().relay
    )
    AccessLog(True, stream, style="json").ended(record)
    fields = keys(json.loads(stream.getvalue()))
    try:
        raise ValueError
    except ValueError as error:
        info = (ValueError, error, error.__traceback__)
    message = logging.LogRecord("pog", logging.ERROR, __file__, 1, "x", (), info)
    fields |= keys(json.loads(JsonFormatter().format(message)))
    assert set(first_column("### `LOG_FORMAT=json`")) == fields
    for name in json.loads(stream.getvalue())["httpRequest"]:
        assert f"`{name}`" in section("### `LOG_FORMAT=json`")


def test_every_text_to_look_for_is_one_that_somebody_says() -> None:
    """«...» in the guide is a part of a message or an answer, or the name of a row."""
    said = "".join(path.read_text() for path in (ROOT / "pog").rglob("*.py"))
    rows = re.findall(r"^\| ([^|]+) \|", GUIDE, re.MULTILINE)
    found = set(re.findall(r"«([^»]+)»", GUIDE))
    assert found - set(rows) == {text for text in found if text in said}
