from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from pog.server.asgi import http_scope

HEAD = [(":method", "GET"), (":scheme", "http"), (":path", "/a%20b?c=d")]


def scope(*more: tuple[str, str]) -> dict[str, Any]:
    stream: Any = SimpleNamespace(headers=[*HEAD, *more])
    return dict(http_scope(stream, scheme="https", client=("192.0.2.1", 1), server=None))


def test_the_parts_of_a_request() -> None:
    found = scope((":authority", "exit:1"), ("x", "\xe4"))
    assert (found["method"], found["scheme"], found["client"]) == ("GET", "https", ("192.0.2.1", 1))
    assert (found["path"], found["raw_path"], found["query_string"]) == ("/a b", b"/a%20b", b"c=d")
    assert found["headers"] == [(b"host", b"exit:1"), (b"x", b"\xe4")]


@pytest.mark.parametrize(
    ("fields", "hosts"),
    [
        ([], []),
        ([(":authority", "a")], [b"a"]),
        ([("host", "a")], [b"a"]),
        ([(":authority", "a"), ("x", "y"), ("host", "A")], [b"a"]),
    ],
)
def test_an_application_sees_one_host_or_none(fields: list[tuple[str, str]], hosts: list[bytes]) -> None:
    assert [value for name, value in scope(*fields)["headers"] if name == b"host"] == hosts
