"""Looks at a call before grpclib does.

What grpclib would answer without a content-type, which grpc-go takes for no answer of gRPC, or with a traceback in the
log that any stranger can ask for, is answered here with the status that gRPC has for it.
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
# What grpclib gets in our words.
_REWRITTEN = ("te", "content-type", "grpc-timeout")
# Nothing is done within less; seconds.
_LEAST_TIMEOUT = 0.001
# So much of what the client sent is repeated to it.
_REPEATED = 100


def refusal(headers: Headers, methods: Container[str]) -> Headers | None:
    """The whole answer to a call that cannot be served, or None. `methods` are paths."""
    fields = dict(headers)
    if fields.get(":method") != "POST":
        return None  # grpclib says so well enough
    path, encoding, timeout = (
        fields.get(":path", ""),
        fields.get("grpc-encoding", "identity").lower(),
        fields.get("grpc-timeout"),
    )
    if path not in methods:
        return _only_trailers(Status.UNIMPLEMENTED, f"unknown method {path[:_REPEATED]}")
    if encoding != "identity":
        answer = _only_trailers(
            Status.UNIMPLEMENTED, f"messages compressed by {encoding[:_REPEATED]} are not understood"
        )
        return [*answer, ("grpc-accept-encoding", "identity")]
    if timeout is None:
        return None
    if not _TIMEOUT.fullmatch(timeout):
        return _only_trailers(Status.INVALID_ARGUMENT, "malformed grpc-timeout")
    if decode_timeout(timeout) < _LEAST_TIMEOUT:
        return _only_trailers(Status.DEADLINE_EXCEEDED, "the deadline had passed before the call began")
    return None


def cleaned(headers: Headers) -> Headers:
    """What grpclib may see of a call that is not refused.

    Binary metadata, which no method here has a use for, would end the call with a traceback if malformed; of several
    timeouts the last one was looked at; `te` is dropped by some fronts, which grpc-go forgives; and grpclib knows one
    spelling of the content-type.
    """
    kept = [each for each in headers if each[0] not in _REWRITTEN and not each[0].endswith("-bin")]
    fields = dict(headers)
    form = message_form(fields.get("content-type", ""))
    kept += [("te", "trailers"), ("content-type", f"{GRPC}+{form}" if form else GRPC)]
    if (timeout := fields.get("grpc-timeout")) is not None:
        kept.append(("grpc-timeout", timeout))
    return kept


def _only_trailers(status: Status, text: str) -> Headers:
    return [
        (":status", "200"),
        ("content-type", GRPC),
        ("grpc-status", str(status.value)),
        ("grpc-message", encode_grpc_message(text)),
    ]
