import json
import logging
import sys
from typing import Any

import pytest

from pog.observe.jsonlog import JsonFormatter, timestamp, trace_fields
from tests.helpers.process import Program

TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"


def traced(trace: str = TRACE, span: str | None = SPAN, sampled: bool = False) -> dict[str, Any]:
    found: dict[str, Any] = {
        "logging.googleapis.com/trace": trace,
        "logging.googleapis.com/trace_sampled": sampled,
    }
    return found | ({"logging.googleapis.com/spanId": span} if span else {})


@pytest.mark.parametrize(
    ("metadata", "fields"),
    [
        (None, {}),
        ({}, {}),
        ({"traceparent": f"00-{TRACE}-{SPAN}-01"}, traced(sampled=True)),
        ({"traceparent": f"00-{TRACE}-{SPAN}-00"}, traced()),
        ({"traceparent": f"cc-{TRACE}-{SPAN}-01-what-the-future-will-be-like"}, traced(sampled=True)),
        ({"traceparent": f"ff-{TRACE}-{SPAN}-01"}, {}),
        ({"traceparent": f"00-{'0' * 32}-{SPAN}-01"}, {}),
        ({"traceparent": f"00-{TRACE}-{'0' * 16}-01"}, {}),
        ({"traceparent": f"00-{TRACE.upper()}-{SPAN}-01"}, {}),
        (
            {"traceparent": 'x" or "', "x-cloud-trace-context": f"{TRACE}/74;o=1"},
            traced(span=f"{74:016x}", sampled=True),
        ),
        ({"x-cloud-trace-context": TRACE.upper()}, traced(span=None)),
        ({"x-cloud-trace-context": f"{TRACE}/0;o=0"}, traced(span=None)),
        ({"x-cloud-trace-context": f"{TRACE}/{2**64}"}, traced(span=None)),
        ({"x-cloud-trace-context": "../../x"}, {}),
        ({"traceparent": b"bytes", "x-cloud-trace-context": b"bytes"}, {}),
    ],
)
def test_the_trace_of_a_request(metadata: dict[str, Any] | None, fields: dict[str, Any]) -> None:
    assert trace_fields(metadata) == fields


def test_times_are_utc() -> None:
    assert timestamp(1718456022.000001) == "2024-06-15T12:53:42.000001Z"


def formatted(level: int, message: str, *args: object, error: BaseException | None = None) -> dict[str, Any]:
    info = (type(error), error, error.__traceback__) if error else None
    record = logging.LogRecord("pog.server", level, __file__, 7, message, args, info, "where")
    text = JsonFormatter().format(record)
    assert "\n" not in text
    found: dict[str, Any] = json.loads(text)
    return found


@pytest.mark.parametrize(
    ("level", "severity"),
    [(logging.DEBUG, "DEBUG"), (logging.WARNING, "WARNING"), (logging.CRITICAL, "CRITICAL"), (25, "DEFAULT")],
)
def test_a_message(level: int, severity: str) -> None:
    found = formatted(level, "%d tunnels\nleft", 3)
    assert (found["severity"], found["message"], found["logger"]) == (severity, "3 tunnels\nleft", "pog.server")
    assert found["logging.googleapis.com/sourceLocation"] == {"file": __file__, "line": "7", "function": "where"}


def test_a_traceback_stays_in_its_record() -> None:
    try:
        raise ValueError("no")
    except ValueError as error:
        found = formatted(logging.ERROR, "failed", error=error)
    assert found["stack_trace"].startswith("Traceback (most recent call last)")
    assert found["stack_trace"].endswith("ValueError: no")


def test_everything_that_a_process_says_is_a_record() -> None:
    code = """
import asyncio, logging, warnings
from pog.observe.messages import set_up_logging
from pog.process.run import run
async def main(shutdown):
    logging.getLogger("pog.server").info("a message")
    logging.getLogger("pog.server").debug("not asked for")
    logging.getLogger("hpack").info("what libraries say")
    warnings.warn("a warning")
    asyncio.get_running_loop().call_exception_handler({"message": "a complaint of the loop"})
set_up_logging("info", "json")
run(main)
"""
    program = Program([sys.executable, "-c", code])
    assert program.wait() == 0
    records = [json.loads(line) for line in program.stderr]
    assert [record["severity"] for record in records] == ["INFO", "WARNING", "ERROR"]
    assert "a warning" in records[1]["message"]
