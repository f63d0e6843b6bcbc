from __future__ import annotations

import pytest

from pog.wire.content_type import is_grpc, message_form


@pytest.mark.parametrize(
    ("content_type", "form"),
    [
        ("application/grpc", ""),
        ("application/grpc+proto", "proto"),
        ("application/grpc+json", "json"),
        ("Application/GRPC", ""),
        ("APPLICATION/GRPC+Proto", "proto"),
        ("application/grpc;charset=utf-8", ""),
        ("application/grpc ; charset=utf-8", ""),
        ("application/grpc+proto; charset=UTF-8; x=y", "proto"),
        ("\tapplication/grpc ", ""),
        # Other protocols, and what only begins so.
        ("application/grpc-web", None),
        ("application/grpc-web+proto", None),
        ("application/grpcfoo", None),
        ("application/json", None),
        ("text/html; charset=application/grpc", None),
        ("", None),
    ],
)
def test_the_form_of_messages(content_type: str, form: str | None) -> None:
    assert message_form(content_type) == form
    assert is_grpc(content_type) is (form is not None)
