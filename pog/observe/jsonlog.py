"""Log records as JSON, one object a line, with the fields that Cloud Logging understands.

cloud.google.com/logging/docs/structured-logging#structured_logging_special_fields: severity, message, time,
httpRequest and logging.googleapis.com/*. The trace is given by its ID alone, the form that is preferred now
(cloud.google.com/trace/docs/trace-log-integration). Any other reader of JSON lines gets along with them too.
"""

from __future__ import annotations

import json
import logging
import re
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

_PREFIX = "logging.googleapis.com/"
# Python has no level NOTICE; its numbers are those of Cloud Logging divided by ten up to WARNING.
_SEVERITIES = {level: logging.getLevelName(level) for level in (10, 20, 30, 40, 50)}

# www.w3.org/TR/trace-context section 3.2; a version that is not known yet may have more behind.
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?")
# cloud.google.com/trace/docs/trace-context#legacy-http-header: TRACE_ID/SPAN_ID;o=OPTIONS, the span in decimal.
_CLOUD_TRACE = re.compile(r"([0-9A-Fa-f]{32})(?:/([0-9]{1,20}))?(?:;o=([0-9]+))?")


# json.dumps would make one for every record.
_ENCODER = json.JSONEncoder(separators=(",", ":"), check_circular=False, default=str)


def line(record: Mapping[str, Any]) -> str:
    """One record; nothing in it can break out of its line or its string."""
    return _ENCODER.encode(record) + "\n"


def timestamp(now: float) -> str:
    """UTC with microseconds, RFC 3339."""
    seconds, microseconds = divmod(round(now * 1e6), 1_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{microseconds:06}Z"


def trace_fields(metadata: Mapping[str, Any] | None) -> dict[str, Any]:
    """The trace that a request belongs to, by its header fields `traceparent` or `x-cloud-trace-context`."""
    if metadata is None:
        return {}
    parent = metadata.get("traceparent")
    if isinstance(parent, str) and (found := _TRACEPARENT.fullmatch(parent)):
        return _trace(found[1], found[2], bool(int(found[3], 16) & 1))
    cloud = metadata.get("x-cloud-trace-context")
    if isinstance(cloud, str) and (found := _CLOUD_TRACE.fullmatch(cloud)):
        span = int(found[2] or 0)
        return _trace(found[1].lower(), f"{span:016x}" if 0 < span < 2**64 else "", found[3] == "1")
    return {}


def _trace(trace: str, span: str, sampled: bool) -> dict[str, Any]:
    fields: dict[str, Any] = {f"{_PREFIX}trace": trace, f"{_PREFIX}trace_sampled": sampled}
    if span:
        fields[f"{_PREFIX}spanId"] = span
    return fields


class JsonFormatter(logging.Formatter):
    """Messages of programs; a traceback is in `stack_trace`, where Error Reporting looks for it."""

    def format(self, record: logging.LogRecord) -> str:
        found: dict[str, Any] = {
            "severity": _SEVERITIES.get(record.levelno, "DEFAULT"),
            "time": timestamp(record.created),
            "message": record.getMessage(),
            "logger": record.name,
            f"{_PREFIX}sourceLocation": {
                "file": record.pathname,
                "line": str(record.lineno),
                "function": record.funcName,
            },
        }
        if record.exc_info:
            found["stack_trace"] = self.formatException(record.exc_info)
        return line(found).rstrip("\n")
