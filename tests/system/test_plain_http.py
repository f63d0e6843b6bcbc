"""Plain http:// by other people's programs: what they ask for arrives, forwarded and not by CONNECT."""

from __future__ import annotations

import hashlib
import json
import os
import time
import zipfile
from typing import TYPE_CHECKING

import pytest

from tests.helpers import pog
from tests.helpers.items import item
from tests.helpers.origin import blocks, digest, unused_port
from tests.system.conftest import node_modules

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Pair
    from tests.system.conftest import Tool
    from tests.system.site import Site

SIZE = 50_000_000
QUIET = ("--silent", "--show-error", "--fail", "--max-time", "20", "--noproxy", "")


@pytest.fixture(scope="session")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("large") / "large.bin"
    with path.open("wb") as file:
        for block in blocks(SIZE):
            file.write(block)
    return path


def tunnels(pair: Pair, host_port: str, count: int) -> list[str]:
    """By what the tunnels to this destination were asked for, as the client's log says; waits for `count` lines."""
    opened: list[str] = []
    deadline = time.monotonic() + 10
    while len(opened) < count and time.monotonic() < deadline:
        lines = (line.split() for line in [*pair.client.program.stdout])
        opened = [words[3] for words in lines if words[:2] == ["pog:", host_port]]
        time.sleep(0.01)
    return opened


def proxied(pair: Pair, **more: str) -> dict[str, str]:
    """The variables by which most programs are told."""
    return {"http_proxy": f"http://{pair.client.host_port}", "no_proxy": "", "NO_PROXY": ""} | more


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# curl


def test_curl_reuses_its_connection_and_the_tunnel(run: Tool, pair: Pair, site: Site) -> None:
    for name in ("one", "two", "three"):
        (site.folder / name).write_text(f"{name}\n")
    urls = [f"{site.url}/{name}" for name in ("one", "two", "three")]
    said = run("curl", *QUIET, "-x", f"http://{pair.client.host_port}", *urls, "--write-out", "%{num_connects}\n")
    assert said == "one\n1\ntwo\n0\nthree\n0\n"
    assert tunnels(pair, site.host_port, 1) == ["HTTP"]
    assert {line for line, _ in site.seen} == {f"GET /{name} HTTP/1.1" for name in ("one", "two", "three")}
    for _, fields in site.seen:
        assert sorted(fields) == ["accept", "host", "user-agent"]
        assert fields["host"] == site.host_port


def test_curl_downloads_and_uploads(run: Tool, pair: Pair, site: Site, large: Path, tmp_path: Path) -> None:
    (site.folder / "large").symlink_to(large)
    proxy = ("-x", f"http://{pair.client.host_port}")
    run("curl", *QUIET, *proxy, f"{site.url}/large", "-o", str(tmp_path / "down"))
    assert sha256(tmp_path / "down") == digest(SIZE)
    assert f"Content-Length: {SIZE}" in run("curl", *QUIET, *proxy, "--head", f"{site.url}/large")
    run("curl", *QUIET, *proxy, "-T", str(large), f"{site.url}/by-length")
    run("bash", "-c", 'curl "$@" <"$0"', str(large), *QUIET, *proxy, "-T", "-", f"{site.url}/by-chunks")
    for name in ("by-length", "by-chunks"):
        assert sha256(site.folder / name) == digest(SIZE)
    assert [fields.get("transfer-encoding") for line, fields in site.seen if "by-" in line] == [None, "chunked"]


def test_curl_shows_a_refusal_and_logs_in(run: Tool, pair: Pair, site: Site) -> None:
    (site.folder / "page").write_text("page\n")
    said = run(
        "curl", "-sS", "--noproxy", "", "-x", f"http://{pair.client.host_port}", f"http://127.0.0.1:{unused_port()}"
    )
    assert "refused the connection" in said
    said = run(
        "curl", "-sS", "--noproxy", "", "-x", f"http://{pair.client.host_port}", "-H", "Host: a", "http://0.0.0.0:1/"
    )
    assert "0.0.0.0:1 is not allowed" in said
    client = pog.client(pair.server.host_port, {"CLIENT_AUTH_A": item("me", "p w")})
    with client.program:
        args = (*QUIET, "-x", f"http://{client.host_port}", f"{site.url}/page")
        for flag in ("--proxy-basic", "--proxy-anyauth"):
            assert run("curl", *args, flag, "--proxy-user", "me:p w") == "page\n"
        with pytest.raises(AssertionError, match="ended with 22"):
            run("curl", *args, "--proxy-user", "me:no")
    assert not any("proxy-authorization" in fields for _, fields in site.seen)


# wget


def test_wget(run: Tool, pair: Pair, site: Site, large: Path, tmp_path: Path) -> None:
    (site.folder / "large").symlink_to(large)
    (site.folder / "index.html").write_text('<a href="one.html">1</a><a href="two.html">2</a>')
    (site.folder / "one.html").write_text("one")
    (site.folder / "two.html").write_text("two")
    env = proxied(pair)
    run("wget", "-q", "-O", str(tmp_path / "down"), f"{site.url}/large", env=env)
    assert sha256(tmp_path / "down") == digest(SIZE)
    run("wget", "-q", "-r", "-P", str(tmp_path), f"{site.url}/", env=env)
    assert (tmp_path / site.host_port / "two.html").read_text() == "two"
    assert set(tunnels(pair, site.host_port, 2)) == {"HTTP"}


# git


def test_git_clones_and_pushes(run: Tool, pair: Pair, site: Site, tmp_path: Path) -> None:
    bare, clone = site.folder / "git" / "repo.git", tmp_path / "clone"
    env = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull, "GIT_TERMINAL_PROMPT": "0"}
    run("git", "init", "-q", "--bare", "-b", "main", str(bare), env=env)
    env |= proxied(pair)
    run("git", "clone", "-q", f"{site.url}/git/repo.git", str(clone), env=env)
    # More than http.postBuffer (1 MiB), so that git sends chunks.
    (clone / "noise").write_bytes(os.urandom(3_000_000))
    who = ("-c", "user.name=a", "-c", "user.email=a@example.com")
    run("git", "-C", str(clone), "add", ".", env=env)
    run("git", "-C", str(clone), *who, "commit", "-q", "-m", "noise", env=env)
    run("git", "-C", str(clone), "push", "-q", "origin", "HEAD:main", env=env)
    again = tmp_path / "again"
    run("git", "clone", "-q", f"{site.url}/git/repo.git", str(again), env=env)
    assert (again / "noise").read_bytes() == (clone / "noise").read_bytes()
    assert any(fields.get("transfer-encoding") == "chunked" for line, fields in site.seen if line.startswith("POST"))
    assert set(tunnels(pair, site.host_port, 1)) == {"HTTP"}


# apt


def test_apt_updates_and_downloads(run: Tool, pair: Pair, site: Site, tmp_path: Path) -> None:
    stanzas = ""
    for name in ("pog-one", "pog-two", "pog-three"):
        control = tmp_path / name / "DEBIAN" / "control"
        control.parent.mkdir(parents=True)
        text = f"Package: {name}\nVersion: 1\nArchitecture: all\nMaintainer: a <a@example.com>\nDescription: a test\n"
        control.write_text(text)
        run("dpkg-deb", "--build", "--root-owner-group", str(tmp_path / name), str(site.folder / f"{name}.deb"))
        deb = site.folder / f"{name}.deb"
        stanzas += f"{text}Filename: ./{name}.deb\nSize: {deb.stat().st_size}\nSHA256: {sha256(deb)}\n\n"
    (site.folder / "Packages").write_text(stanzas)
    (tmp_path / "sources.list").write_text(f"deb [trusted=yes] {site.url} ./\n")
    for folder in ("state/lists/partial", "cache/archives/partial", "etc"):
        (tmp_path / folder).mkdir(parents=True)
    settings = {
        "Acquire::http::Proxy": f"http://{pair.client.host_port}",
        "Dir::Etc": f"{tmp_path}/etc",
        "Dir::Etc::SourceList": f"{tmp_path}/sources.list",
        "Dir::State": f"{tmp_path}/state",
        "Dir::Cache": f"{tmp_path}/cache",
        "APT::Sandbox::User": "",
    }
    options = [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]
    run("apt-get", *options, "update")
    script = 'cd "$0" && exec apt-get "$@"'
    run("bash", "-c", script, str(tmp_path), *options, "download", "pog-one", "pog-two", "pog-three")
    for name in ("pog-one", "pog-two", "pog-three"):
        assert sha256(tmp_path / f"{name}_1_all.deb") == sha256(site.folder / f"{name}.deb")
    assert set(tunnels(pair, site.host_port, 1)) == {"HTTP"}


# Python


def test_pip(run: Tool, pair: Pair, site: Site, tmp_path: Path) -> None:
    folder = site.folder / "simple" / "pog-test"
    folder.mkdir(parents=True)
    wheel = folder / "pog_test-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("pog_test.py", "x = 1\n" * 100_000)
        archive.writestr("pog_test-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: pog-test\nVersion: 1\n")
        archive.writestr("pog_test-1.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("pog_test-1.dist-info/RECORD", "")
    index = ("-i", f"{site.url}/simple/", "--trusted-host", "127.0.0.1", "--no-cache-dir", "--isolated")
    run(
        pog.POG[0],
        "-m",
        "pip",
        "-q",
        "download",
        *index,
        "-d",
        str(tmp_path),
        "pog-test",
        env=proxied(pair),
        seconds=60,
    )
    assert sha256(tmp_path / wheel.name) == sha256(wheel)
    assert set(tunnels(pair, site.host_port, 1)) == {"HTTP"}


def test_requests_httpx_and_urllib(pair: Pair, site: Site) -> None:
    import urllib.request

    import httpx
    import requests

    (site.folder / "page").write_text("page")
    proxy = f"http://{pair.client.host_port}"
    with requests.Session() as session:
        session.trust_env, session.proxies = False, {"http": proxy}
        assert [session.get(f"{site.url}/page", timeout=20).text for _ in range(3)] == ["page"] * 3
        assert session.put(f"{site.url}/put", data=iter([b"a" * 100_000, b"b"]), timeout=20).status_code == 201
    assert (site.folder / "put").read_bytes() == b"a" * 100_000 + b"b"
    assert tunnels(pair, site.host_port, 1) == ["HTTP"]
    with httpx.Client(proxy=proxy, trust_env=False) as client:
        assert [client.get(f"{site.url}/page").text for _ in range(3)] == ["page"] * 3
    assert tunnels(pair, site.host_port, 2) == ["HTTP"] * 2
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({"http": proxy}))
    with opener.open(f"{site.url}/page", timeout=20) as answer:
        assert answer.read() == b"page"
    assert tunnels(pair, site.host_port, 3) == ["HTTP"] * 3


async def test_aiohttp_and_its_websocket_by_upgrade(pair: Pair, site: Site) -> None:
    import aiohttp
    from aiohttp import web

    async def echo(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(max_msg_size=0)
        await socket.prepare(request)
        async for message in socket:
            await socket.send_bytes(message.data)
        return socket

    (site.folder / "page").write_text("page")
    proxy = f"http://{pair.client.host_port}"
    application = web.Application()
    application.router.add_get("/echo", echo)
    runner = web.AppRunner(application)
    await runner.setup()
    listener = web.TCPSite(runner, "127.0.0.1", 0)
    await listener.start()
    host_port = "{}:{}".format(*runner.addresses[0])
    try:
        async with aiohttp.ClientSession() as session:
            for _ in range(3):
                async with session.get(f"{site.url}/page", proxy=proxy) as answer:
                    assert await answer.text() == "page"
            async with session.ws_connect(f"ws://{host_port}/echo", proxy=proxy, max_msg_size=0) as socket:
                for size in (0, 1, 70_000, 5_000_000):
                    await socket.send_bytes(bytes(size))
                    assert await socket.receive_bytes() == bytes(size)
    finally:
        await runner.cleanup()
    assert tunnels(pair, site.host_port, 1) == ["HTTP"]
    assert tunnels(pair, host_port, 1) == ["HTTP"]


async def test_websockets_by_connect(pair: Pair) -> None:
    from websockets.asyncio.client import connect
    from websockets.asyncio.server import ServerConnection, serve

    async def echo(connection: ServerConnection) -> None:
        async for message in connection:
            await connection.send(message)

    async with serve(echo, "127.0.0.1", 0) as server:
        host_port = "{}:{}".format(*next(iter(server.sockets)).getsockname())
        async with connect(f"ws://{host_port}/", proxy=f"http://{pair.client.host_port}") as socket:
            await socket.send(bytes(500_000))
            assert await socket.recv() == bytes(500_000)
    assert tunnels(pair, host_port, 1) == ["HTTPS"]


# Node


UNDICI = """
import { ProxyAgent, request } from 'undici';
const [proxy, url, tunnel] = process.argv.slice(2);
const dispatcher = new ProxyAgent({ uri: proxy, proxyTunnel: tunnel === 'true' });
const texts = [];
for (let i = 0; i < 3; i++) texts.push(await (await request(url, { dispatcher })).body.text());
console.log(JSON.stringify(texts));
await dispatcher.close();
"""


@pytest.mark.parametrize(("tunnel", "front"), [("false", "HTTP"), ("true", "HTTPS")])
def test_undici(run: Tool, pair: Pair, site: Site, tmp_path: Path, tunnel: str, front: str) -> None:
    modules = node_modules("undici")
    (site.folder / "page").write_text("page")
    script = tmp_path / "script.mjs"
    script.write_text(UNDICI)
    (tmp_path / "node_modules").symlink_to(modules)
    said = run("node", str(script), f"http://{pair.client.host_port}", f"{site.url}/page", tunnel)
    assert json.loads(said) == ["page"] * 3
    assert set(tunnels(pair, site.host_port, 1)) == {front}
