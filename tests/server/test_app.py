"""The app as an ASGI server sees it: lifespan, pages, and what it is asked for besides."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from pog.config.server_settings import ServerSettings
from pog.server.app import App
from tests.helpers import h2c
from tests.server.support import SECONDS, serving

if TYPE_CHECKING:
    from collections.abc import MutableMapping


class Asked:
    """One request's answer."""

    def __init__(self) -> None:
        self.messages: list[MutableMapping[str, Any]] = []

    async def receive(self) -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(self, message: MutableMapping[str, Any]) -> None:
        self.messages.append(message)

    @property
    def status(self) -> int:
        status: int = self.messages[0]["status"]
        return status

    @property
    def body(self) -> str:
        return b"".join(message.get("body", b"") for message in self.messages[1:]).decode()

    def field(self, name: str) -> str:
        value: bytes = dict(self.messages[0]["headers"])[name.encode()]
        return value.decode()


async def get(app: App, path: str, method: str = "GET", **fields: str) -> Asked:
    asked = Asked()
    headers = [(name.encode(), value.encode()) for name, value in {"host": "pog.example", **fields}.items()]
    scope: dict[str, Any] = {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
    }
    scope |= {"scheme": "http", "query_string": b"", "root_path": "", "headers": headers, "client": None}
    await app(scope, asked.receive, asked.send)
    return asked


@pytest.fixture
def app() -> App:
    """Made in the test's loop, by its first request."""
    return App(ServerSettings())


async def test_the_pages(app: App) -> None:
    for path, body in (("/healthz", "ok\n"), ("/health", "ok\n"), ("/readyz", "ok\n")):
        answer = await get(app, path)
        assert (answer.status, answer.body) == (200, body)
    for path in ("/nothing", "/metrics/", "/healthz/"):
        assert (await get(app, path)).status == 404
    assert (await get(app, "/metrics", "POST")).status == 405
    app.server.close()


@pytest.mark.parametrize(
    ("host", "command"),
    [
        ("pog.example", "SERVER_ADDR=pog.example:443 pog client"),
        ("127.0.0.1:8080", "SERVER_ADDR=127.0.0.1:8080 INSECURE=1 pog client"),
    ],
)
async def test_the_first_page_says_how_to_use_it(app: App, host: str, command: str) -> None:
    assert command in (await get(app, "/", host=host)).body
    app.server.close()


async def test_metrics_in_two_forms(app: App) -> None:
    text = await get(app, "/metrics")
    assert text.field("content-type") == "text/plain; version=0.0.4; charset=utf-8"
    openmetrics = await get(app, "/metrics", accept="application/openmetrics-text, text/plain;q=0.5")
    assert openmetrics.field("content-type").startswith("application/openmetrics-text")
    assert openmetrics.body.endswith("# EOF\n")
    app.server.close()


async def test_a_server_that_drains_is_not_ready_and_alive(app: App) -> None:
    await app.drain()
    assert ((await get(app, "/readyz")).status, (await get(app, "/healthz")).status) == (503, 200)
    app.server.close()


async def test_without_pages_everything_else_is_not_there() -> None:
    app = App(ServerSettings(grpc_and_http_mux=False))
    for path in ("/", "/metrics", "/healthz"):
        assert (await get(app, path)).status == 404
    app.server.close()


async def test_grpc_wants_http2(app: App) -> None:
    path = "/grpc.health.v1.Health/Check"
    assert (await get(app, path, "POST", **{"content-type": "application/grpc"})).status == 505
    app.server.close()


async def test_a_websocket_is_closed(app: App) -> None:
    asked = Asked()
    await app({"type": "websocket", "path": "/", "raw_path": b"/", "headers": []}, asked.receive, asked.send)
    assert asked.messages == [{"type": "websocket.close", "code": 1000}]
    app.server.close()


# Lifespan


class Lifespan:
    """An ASGI server's side of it."""

    def __init__(self, *, takes_failure: bool = True) -> None:
        self._events = ["lifespan.startup", "lifespan.shutdown"]
        self._takes_failure = takes_failure
        self.answers: list[MutableMapping[str, Any]] = []

    async def receive(self) -> dict[str, Any]:
        return {"type": self._events.pop(0)}

    async def send(self, message: MutableMapping[str, Any]) -> None:
        self.answers.append(message)
        if message["type"].endswith("failed") and not self._takes_failure:
            raise RuntimeError("as Hypercorn does")


async def test_lifespan(app: App, caplog: pytest.LogCaptureFixture) -> None:
    lifespan = Lifespan()
    await app({"type": "lifespan"}, lifespan.receive, lifespan.send)
    assert [answer["type"] for answer in lifespan.answers] == [
        "lifespan.startup.complete",
        "lifespan.shutdown.complete",
    ]
    assert app.server.draining


async def test_the_environment_is_read_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRAIN_TIMEOUT", "7")
    app, lifespan = App(), Lifespan()
    await app({"type": "lifespan"}, lifespan.receive, lifespan.send)
    assert app.drain_timeout == 7


@pytest.mark.parametrize("takes_failure", [True, False])
async def test_a_wrong_setting_is_why_it_does_not_start(
    takes_failure: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DRAIN_TIMEOUT", "soon")
    app, lifespan = App(), Lifespan(takes_failure=takes_failure)
    if takes_failure:
        await app({"type": "lifespan"}, lifespan.receive, lifespan.send)
    else:
        with pytest.raises(SystemExit):
            await app({"type": "lifespan"}, lifespan.receive, lifespan.send)
        assert "pog: DRAIN_TIMEOUT: must be" in capsys.readouterr().err
    assert "DRAIN_TIMEOUT: must be" in lifespan.answers[0]["message"]


# Over HTTP/2, on the engine


async def test_pages_by_http2() -> None:
    async with serving() as running, asyncio.timeout(SECONDS):
        answer, body = await asyncio.to_thread(h2c.request, running.address, "GET", "/healthz?x")
        assert (answer[":status"], body) == ("200", b"ok\n")
        answer, body = await asyncio.to_thread(h2c.request, running.address, "HEAD", "/healthz")
        assert (answer[":status"], answer["content-length"], body) == ("200", "3", b"")
        fields = ("content-type", "application/json")
        path = "/grpc.health.v1.Health/Check"
        answer, body = await asyncio.to_thread(h2c.request, running.address, "POST", path, fields, content=b"{}")
        assert (answer[":status"], body) == ("200", b'{"status": "SERVING"}')


async def test_a_page_that_fails_is_500_and_leaves_others_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("pog.server.pages.wants_openmetrics", fail)
    async with serving() as running, asyncio.timeout(SECONDS):
        for path, status in (("/metrics", "500"), ("/healthz", "200")):
            answer, _ = await asyncio.to_thread(h2c.request, running.address, "GET", path)
            assert answer[":status"] == status
    assert "ZeroDivisionError" in caplog.text
