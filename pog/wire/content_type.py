"""The content-type of gRPC: application/grpc, alone or with the form of its messages, as application/grpc+proto."""

from __future__ import annotations

GRPC = "application/grpc"
_WITH_FORM = GRPC + "+"


def message_form(content_type: str) -> str | None:
    """The form that a content-type of gRPC names (proto, json), "" when it names none; None for anything else.

    RFC 9110 8.3.1: type and subtype are compared without regard to case, and parameters may follow. gRPC's
    PROTOCOL-HTTP2 begins the value of gRPC-Web, which is another protocol, with the same letters.
    """
    if content_type == GRPC:
        return ""
    media_type = content_type.partition(";")[0].strip(" \t").lower()
    if media_type == GRPC:
        return ""
    return media_type[len(_WITH_FORM) :] if media_type.startswith(_WITH_FORM) else None


def is_grpc(content_type: str) -> bool:
    """Whether a message with this content-type is one of gRPC."""
    return message_form(content_type) is not None
