"""What the client's own port shows."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import pytest

from pog.client import pages as pages_module
from pog.client.pages import Pages
from pog.errors import ExitUnavailable, PogError
from pog.front.base import PageRequest
from tests.client.support import SETTINGS, front
from tests.helpers.relay import Counted

if TYPE_CHECKING:
    from pog.observe.metrics import Metrics


class FakeServer:
    """Answers a fetch with what it was made with."""

    def __init__(self, answer: tuple[int, bytes | None] | PogError | None) -> None:
        self.answer = answer
        self.asked = 0

    async def fetch(self, path: str) -> tuple[int, bytes | None]:
        assert path == "/metrics"
        self.asked += 1
        if self.answer is None:
            await asyncio.Event().wait()
        if isinstance(self.answer, PogError):
            raise self.answer
        assert self.answer is not None
        return self.answer


class FakeExit:
    """An exit that says what it was told to."""

    problem = ""


async def get(pages: Pages, target: str, method: str = "GET", **fields: str) -> tuple[int, dict[str, str], str]:
    fields = {"host": "127.0.0.1:18080", **fields}
    page = await pages.answer(PageRequest(method, target, tuple(fields.items()), "1.1"))
    assert isinstance(page.content, bytes)
    return page.status, {"content-type": page.content_type, **dict(page.fields)}, page.content.decode()


def make(server: FakeServer | None = None, tunnels: int = 1) -> tuple[Pages, Metrics]:
    counted = Counted("client", SETTINGS)
    for _ in range(tunnels):
        counted.open()
    return Pages(counted.metrics, counted.tunnels, server, FakeExit(), ("client",)), counted.metrics


async def test_metrics_in_the_form_that_is_asked_for() -> None:
    pages, _ = make()
    status, fields, body = await get(pages, "/metrics?x=1")
    assert (status, fields["content-type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert "\ntunnelling_connections_total 1.0\n" in body
    assert not body.endswith("# EOF\n")
    status, fields, body = await get(pages, "/metrics", accept="application/openmetrics-text;version=1.0.0")
    assert fields["content-type"].startswith("application/openmetrics-text")
    assert body.endswith("# EOF\n")


async def test_other_pages() -> None:
    pages, _ = make()
    assert "HTTP proxy" in (await get(pages, "/"))[2]
    assert (await get(pages, "/nothing"))[0] == 404
    assert (await get(pages, "*", "OPTIONS"))[0] == 404
    status, fields, _ = await get(pages, "/metrics", "POST")
    assert (status, fields["Allow"]) == (405, "GET, HEAD")
    assert (await get(pages, "/", "HEAD"))[0] == 200


async def test_health_is_being_there_and_readiness_an_exit() -> None:
    exit, counted = FakeExit(), Counted("client", SETTINGS)
    pages = Pages(counted.metrics, counted.tunnels, None, exit)
    for path in ("/healthz", "/health", "/readyz"):
        assert (await get(pages, path))[0] == 200
    exit.problem = "west: connection refused"
    status, _, body = await get(pages, "/readyz")
    assert (status, body) == (503, "west: connection refused\n")
    assert (await get(pages, "/healthz"))[0] == 200


async def test_the_file_for_browsers_names_the_address_that_they_used() -> None:
    pages, _ = make()
    status, fields, body = await get(pages, "/proxy.pac", host="client:18080")
    assert (status, fields["content-type"]) == (200, "application/x-ns-proxy-autoconfig")
    assert '"PROXY client:18080"' in body
    nameless = PageRequest("GET", "/proxy.pac", (), "1.0")
    assert (await pages.answer(nameless)).status == 400


@pytest.mark.parametrize("path", ["/", "/metrics", "/healthz", "/readyz", "/proxy.pac", "/nothing"])
async def test_nothing_is_shown_under_a_strangers_name(path: str, caplog: pytest.LogCaptureFixture) -> None:
    pages, _ = make()
    status, _, body = await get(pages, path, host="attacker.example:18080")
    assert status == 421
    assert "PAGES_HOSTS" in body
    assert "attacker" not in body
    assert "'attacker.example:18080'" in caplog.text
    assert (await get(pages, path, host="client"))[0] in (200, 404)


async def test_the_servers_metrics_come_among_ours() -> None:
    server = FakeServer((200, b"# TYPE build_info gauge\nbuild_info 1\nserver_side 7\n"))
    pages, metrics = make(server)
    _, fields, body = await get(pages, "/metrics", accept="application/openmetrics-text")
    assert fields["content-type"].startswith("text/plain")
    assert body.endswith('\nserver_side{end="server"} 7\n')
    assert '\nbuild_info{end="server"} 1\n' in body
    assert body.count("# TYPE build_info ") == 1
    assert metrics.registry.get_sample_value("server_client_metrics_mux_errors_total", {"name": "ok"}) == 1


async def test_a_name_of_another_type_is_left_out_and_told(caplog: pytest.LogCaptureFixture) -> None:
    page = b"# TYPE handshake_duration_seconds gauge\nhandshake_duration_seconds 1\nserver_side 7\n"
    pages, _ = make(FakeServer((200, page)))
    body = (await get(pages, "/metrics"))[2]
    assert 'server_side{end="server"} 7\n' in body
    assert "\nhandshake_duration_seconds{" not in body
    assert "of another type than ours: handshake_duration_seconds" in caplog.text


async def test_without_a_tunnel_the_server_is_not_asked() -> None:
    server = FakeServer((200, b"server_side 7\n"))
    pages, _ = make(server, tunnels=0)
    assert "server_side" not in (await get(pages, "/metrics"))[2]
    assert server.asked == 0


@pytest.mark.parametrize(
    ("answer", "name"),
    [
        (ExitUnavailable("down"), "GET"),
        ((404, b"?"), "not_2XX"),
        ((200, None), "copy"),
        ((200, b"<!doctype html>\n"), "copy"),
        ((200, b"server_side 7\nsecond\n"), "copy"),
        ((200, b"\xff 1\n"), "copy"),
        (None, "GET"),
    ],
)
async def test_what_can_go_wrong_with_them_is_counted(
    answer: tuple[int, bytes | None] | PogError | None,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(pages_module, "_FETCH_TIMEOUT", 0.01)
    pages, metrics = make(FakeServer(answer))
    with caplog.at_level(logging.WARNING):
        status, _, body = await get(pages, "/metrics")
    assert status == 200
    assert "tunnelling_connections_total" in body
    assert "server_side" not in body
    assert metrics.registry.get_sample_value("server_client_metrics_mux_errors_total", {"name": name}) == 1
    assert "cannot append the server's metrics" in caplog.text


async def test_they_are_on_the_proxys_own_port_without_credentials() -> None:
    async with front() as here:
        for request, status in ((b"GET / HTTP/1.0\r\n\r\n", 200), (b"GET /x HTTP/1.1\r\nHost: [::1]\r\n\r\n", 404)):
            user = await here.user()
            user.send(request)
            user.send_eof()
            assert (await user.answer())[0] == status
        await here.gone()
