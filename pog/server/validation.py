"""Checks a call before grpclib does.

grpclib would answer some calls without a content-type, which grpc-go does not accept as a gRPC response, and others
with a traceback, so that any stranger could fill the log. Here they get the status that gRPC defines for them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from grpclib.const import Status
from grpclib.metadata import decode_timeout, encode_grpc_message

from pog.wire.content_type import GRPC, message_form

if TYPE_CHECKING:
    from collections.abc import Container

    from pog.http2.fields import Headers

# gRPC's PROTOCOL-HTTP2: at most eight digits and a unit.
_TIMEOUT = re.compile(r"[0-9]{1,8}[HMSmun]")
# Fields that are rewritten for grpclib.
_REWRITTEN = ("te", "content-type", "grpc-timeout")
# The shortest deadline that is served; seconds.
_LEAST_TIMEOUT = 0.001
# Characters of the client's own text that an error repeats.
_MAX_ECHOED = 100


def refusal(headers: Headers, methods: Container[str]) -> Headers | None:
    """The whole response to a call that cannot be served, or None. `methods` are paths."""
    fields = dict(headers)
    if fields.get(":method") != "POST":
        return None  # grpclib's answer is right
    path, encoding, timeout = (
        fields.get(":path", ""),
        fields.get("grpc-encoding", "identity").lower(),
        fields.get("grpc-timeout"),
    )
    if path not in methods:
        return _trailers_only(Status.UNIMPLEMENTED, f"unknown method {path[:_MAX_ECHOED]}")
    if encoding != "identity":
        answer = _trailers_only(
            Status.UNIMPLEMENTED, f"messages compressed by {encoding[:_MAX_ECHOED]} are not understood"
        )
        return [*answer, ("grpc-accept-encoding", "identity")]
    if timeout is None:
        return None
    if not _TIMEOUT.fullmatch(timeout):
        return _trailers_only(Status.INVALID_ARGUMENT, "malformed grpc-timeout")
    if decode_timeout(timeout) < _LEAST_TIMEOUT:
        return _trailers_only(Status.DEADLINE_EXCEEDED, "the deadline had passed before the call began")
    return None


def normalised(headers: Headers) -> Headers:
    """The headers of a call that is not refused, as grpclib accepts them.

    Binary metadata is dropped: no method uses it, and malformed it would end the call with a traceback. Of several
    timeouts the last counts. `te` is added, which some front ends drop and grpc-go does not require. The content-type
    gets the one spelling that grpclib knows.
    """
    kept = [each for each in headers if each[0] not in _REWRITTEN and not each[0].endswith("-bin")]
    fields = dict(headers)
    form = message_form(fields.get("content-type", ""))
    kept += [("te", "trailers"), ("content-type", f"{GRPC}+{form}" if form else GRPC)]
    if (timeout := fields.get("grpc-timeout")) is not None:
        kept.append(("grpc-timeout", timeout))
    return kept


def _trailers_only(status: Status, text: str) -> Headers:
    return [
        (":status", "200"),
        ("content-type", GRPC),
        ("grpc-status", str(status.value)),
        ("grpc-message", encode_grpc_message(text)),
    ]
