"""The Connect protocol, by ASGI messages alone; with curl, by both versions of HTTP: tests/e2e/test_services.py."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from pog.config.auth_items import parse_item
from pog.config.server_settings import ServerSettings
from pog.server import connect_protocol
from pog.server.dispatch import CallDispatcher
from pog.server.service import Server
from tests.helpers.items import item
from tests.helpers.user import basic

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, MutableMapping

CHECK = "/grpc.health.v1.Health/Check"
INVOKE = "/healthcheck.Healthcheck/Invoke"
JSON = {"content-type": "application/json"}


class Exchange:
    """One request, its content in these pieces, and what is answered. Without an end the client stays and is silent."""

    def __init__(self, *pieces: bytes, leaves: bool = False, ends: bool = True) -> None:
        self._pieces = list(pieces)
        self._leaves = leaves
        self._ends = ends
        self.taken = 0
        self.status = 0
        self.fields: dict[str, str] = {}
        self.content = b""

    async def receive(self) -> dict[str, Any]:
        if self._pieces:
            self.taken += 1
            piece = self._pieces.pop(0)
            return {"type": "http.request", "body": piece, "more_body": bool(self._pieces) or not self._ends}
        if not self._leaves:
            await asyncio.Event().wait()
        return {"type": "http.disconnect"}

    async def send(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.fields = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            self.content += message["body"]

    @property
    def error(self) -> tuple[int, str, str]:
        """Status, code and text."""
        answer = json.loads(self.content)
        assert self.fields["content-type"] == "application/json"
        return self.status, answer["code"], answer.get("message", "")


@asynccontextmanager
async def calls(**changes: Any) -> AsyncIterator[CallDispatcher]:
    server = Server(ServerSettings(**changes))
    try:
        yield CallDispatcher(server.mapping)
    finally:
        server.close()


async def ask(
    calls: CallDispatcher, exchange: Exchange, path: str, fields: dict[str, str], method: str = "POST"
) -> Exchange:
    headers = [(name.encode(), value.encode()) for name, value in fields.items()]
    scope = {"type": "http", "http_version": "1.1", "method": method, "path": path, "headers": headers, "client": None}
    assert calls.accepts(scope)
    await calls(scope, exchange.receive, exchange.send)
    return exchange


@pytest.mark.parametrize(
    ("content_type", "content", "answer"),
    [
        ("application/json", [b"{}"], b'{"status": "SERVING"}'),
        ("Application/JSON; charset=utf-8", [b'{"serv', b'ice":"HTTPProxy"', b"}"], b'{"status": "SERVING"}'),
        ("application/proto", [b""], b"\x08\x01"),
        ("application/proto", [b"\x0a\x09HTTP", b"Proxy"], b"\x08\x01"),
    ],
)
async def test_an_answer_has_the_form_of_the_request(content_type: str, content: list[bytes], answer: bytes) -> None:
    async with calls() as served:
        done = await ask(served, Exchange(*content), CHECK, {"content-type": content_type})
    assert (done.status, done.content) == (200, answer)
    assert done.fields["content-type"] == content_type.partition(";")[0].lower()
    assert done.fields["content-length"] == str(len(answer))


@pytest.mark.parametrize(
    ("path", "method", "fields", "expected", "more"),
    [
        ("/no.Such/Thing", "POST", JSON, (404, "unimplemented"), {}),
        (INVOKE, "GET", {}, (405, "unimplemented"), {"allow": "POST"}),
        ("/HTTPProxy/Run", "POST", JSON, (415, "unimplemented"), {"accept-post": "application/grpc"}),
        (
            INVOKE,
            "POST",
            {"content-type": "text/plain"},
            (415, "unimplemented"),
            {"accept-post": "application/json, application/proto"},
        ),
        (INVOKE, "POST", {**JSON, "content-encoding": "gzip"}, (501, "unimplemented"), {"accept-encoding": "identity"}),
        (INVOKE, "POST", {**JSON, "connect-protocol-version": "2"}, (400, "invalid_argument"), {}),
        (INVOKE, "POST", {**JSON, "connect-timeout-ms": "soon"}, (400, "invalid_argument"), {}),
        (INVOKE, "POST", {**JSON, "connect-timeout-ms": "9" * 11}, (400, "invalid_argument"), {}),
        (INVOKE, "POST", {**JSON, "connect-timeout-ms": "0"}, (504, "deadline_exceeded"), {}),
    ],
)
async def test_a_request_that_is_refused_before_its_handler(
    path: str, method: str, fields: dict[str, str], expected: tuple[int, str], more: dict[str, str]
) -> None:
    """Its content is taken all the same: some clients fail when they are answered too early."""
    exchange = Exchange(b"{", b"}")
    async with calls() as served:
        await ask(served, exchange, path, fields, method)
    status, code, text = exchange.error
    assert ((status, code), exchange.taken) == (expected, 2)
    assert text
    assert exchange.fields.items() >= more.items()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b'{"service":"Nobody"}', (404, "not_found")),
        (b"nonsense", (400, "invalid_argument")),
        (b"x" * (connect_protocol.LARGEST_REQUEST + 1), (429, "resource_exhausted")),
    ],
)
async def test_a_call_that_its_handler_refuses(content: bytes, expected: tuple[int, str]) -> None:
    async with calls() as served:
        done = await ask(served, Exchange(content), CHECK, JSON)
    assert done.error[:2] == expected


async def test_credentials() -> None:
    async with calls(auth=(parse_item(item("ilya", "pw")),)) as served:
        for login in ({}, {"authorization": basic("ilya", "no")}):
            refused = await ask(served, Exchange(b"{}"), INVOKE, {**JSON, **login})
            assert refused.error[:2] == (401, "unauthenticated")
            assert refused.fields["www-authenticate"] == 'Basic realm="pog", charset="UTF-8"'
        done = await ask(served, Exchange(b"{}"), INVOKE, {**JSON, "authorization": basic("ilya", "pw")})
        assert json.loads(json.loads(done.content)["data"])["app"] == "proxy-over-grpc server"
        assert (await ask(served, Exchange(b"{}"), CHECK, JSON)).status == 200  # health needs none


async def test_a_client_that_leaves_before_its_content_is_whole() -> None:
    async with calls() as served:
        done = await ask(served, Exchange(b"{", leaves=True, ends=False), CHECK, JSON)
    assert done.error[:2] == (499, "canceled")


async def test_content_that_does_not_come_within_the_callers_time() -> None:
    async with calls() as served:
        done = await ask(served, Exchange(b"{", ends=False), CHECK, {**JSON, "connect-timeout-ms": "20"})
    assert done.error[:2] == (504, "deadline_exceeded")


async def test_metadata_that_cannot_be_read_is_not_passed_on() -> None:
    async with calls() as served:
        done = await ask(served, Exchange(b"{}"), CHECK, {**JSON, "trace-bin": "%%%", "te": "gzip"})
    assert done.status == 200
