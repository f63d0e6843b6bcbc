"""Chromium loads pages in clear and over TLS through the proxy, by every protocol that it knows for proxies."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Pair
from tests.helpers import pog
from tests.helpers.origin import Handler, Origin, Origins
from tests.helpers.process import NAMES
from tests.helpers.tls import Authority
from tests.system.conftest import Tool
from tests.system.conftest import program as find
from tests.system.site import Site

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--disable-crash-reporter",
    "--dump-dom",
)
# Chromium takes loopback targets past the proxy unless told otherwise.
LOOPBACK_TOO = "--proxy-bypass-list=<-loopback>"


@pytest.fixture
def home(tmp_path: Path, authority: Authority, run: Tool) -> Iterator[Path]:
    """A home folder whose certificate store trusts the throw-away authority."""
    find("chromium")
    store = tmp_path / ".pki" / "nssdb"
    store.mkdir(parents=True)
    run("certutil", "-d", f"sql:{store}", "-N", "--empty-password")
    run("certutil", "-d", f"sql:{store}", "-A", "-t", "C,,", "-n", "pog", "-i", str(authority.ca_file))
    yield tmp_path


def browse(run: Tool, home: Path, proxy: str, url: str) -> str:
    return browse_with(run, home, url, f"--proxy-server={proxy}", LOOPBACK_TOO)


def browse_with(run: Tool, home: Path, url: str, *proxy: str) -> str:
    flags = (*FLAGS, f"--user-data-dir={home}/profile", *proxy)
    env = {"HOME": str(home), "XDG_CONFIG_HOME": f"{home}/config", "XDG_CACHE_HOME": f"{home}/cache"}
    return run("chromium", *flags, url, env=env | {"PATH": os.environ["PATH"]}, seconds=50)


def test_a_page_over_tls(run: Tool, home: Path, pair: Pair, secure_page: Origin) -> None:
    before = secure_page.accepted
    said = browse(run, home, f"http://{pair.client.host_port}", f"https://localhost:{secure_page.port}/")
    assert "through the tunnel" in said
    assert secure_page.accepted > before
    assert any(f"localhost:{secure_page.port} anonymous" in line for line in pair.client.program.stdout)


def site(pages: dict[str, str]) -> Handler:
    """An HTTP origin; what is asked for is in `pages` by its path."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = (await reader.readuntil(b"\r\n\r\n")).split(b" ")[1].decode()
        body = pages.get(path, "").encode()
        kind = "text/javascript" if path.endswith(".js") else "text/html"
        head = f"HTTP/1.1 {200 if body else 404} Said\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
        writer.write(f"{head}Connection: close\r\n\r\n".encode() + body)

    return handle


@pytest.fixture(scope="module")
def secure_proxy(shared_server: pog.End, authority: Authority) -> Iterator[pog.End]:
    """A client whose first endpoint is plain and whose second one is an HTTPS proxy."""
    env = {
        "CLIENT_LISTEN": "127.0.0.1:0,https://127.0.0.1:0",
        "CLIENT_TLS_CERT": str(authority.cert_file),
        "CLIENT_TLS_KEY": str(authority.key_file),
    }
    client = pog.client(shared_server.host_port, env)
    with client.program:
        yield client


@pytest.mark.parametrize("scheme", ["http", "https", "socks4", "socks5"])
def test_parts_of_a_page_in_clear_and_over_tls(
    run: Tool, home: Path, secure_proxy: pog.End, origins: Origins, authority: Authority, scheme: str
) -> None:
    scripts = {"/a.js": "document.body.append('a ran,')", "/b.js": "document.body.append('b ran.')"}
    tls = origins.start(site(scripts), tls=authority.server_context())
    pages = dict(scripts)
    clear = origins.start(site(pages))
    pages["/"] = (
        f"<!doctype html><body><script src=/a.js></script><script src=https://localhost:{tls.port}/b.js></script>"
    )
    at = secure_proxy.host_port
    if scheme == "https":
        found = secure_proxy.program.wait_line(r"^pog client on .*https://127\.0\.0\.1:(\d+)")
        at = f"localhost:{found[1]}"
    said = browse(run, home, f"{scheme}://{at}", f"http://localhost:{clear.port}/")
    assert "</script>a ran," in said
    assert "</script>b ran." in said
    protocol = scheme.upper() if "socks" in scheme else r"HTTPS?"
    host = "127.0.0.1" if scheme == "socks4" else "localhost"
    for port in (clear.port, tls.port):
        secure_proxy.program.wait_line(rf"^pog: {host}:{port} anonymous {protocol} ")


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_by_the_file_from_the_clients_port(
    run: Tool, home: Path, origins: Origins, authority: Authority, scheme: str
) -> None:
    """The page goes through, by a name that only the server knows; a script of this machine does not."""
    here = origins.start(site({"/here.js": "document.body.append('here ran,')"}))
    pages = {"/there.js": "document.body.append('there ran.')"}
    page = origins.start(site(pages))
    scripts = (f"http://localhost:{here.port}/here.js", "/there.js")
    pages["/"] = "<!doctype html><body>" + "".join(f"<script src={script}></script>" for script in scripts)
    server = pog.server(NAMES)
    env = {
        "CLIENT_LISTEN": "127.0.0.1:0,https://127.0.0.1:0",
        "CLIENT_TLS_CERT": str(authority.cert_file),
        "CLIENT_TLS_KEY": str(authority.key_file),
    }
    with server.program:
        client = pog.client(server.host_port, env)
        with client.program:
            found = client.program.wait_line(r"^pog client on .*https://127\.0\.0\.1:(\d+)")
            at = client.host_port if scheme == "http" else f"localhost:{found[1]}"
            pac = f"--proxy-pac-url={scheme}://{at}/proxy.pac"
            said = browse_with(run, home, f"http://page.good.test:{page.port}/", pac)
            assert "here ran," in said
            assert "there ran." in said
            lines = client.program.stdout
            assert any(f"page.good.test:{page.port} anonymous" in line for line in lines)
            assert not any(f":{here.port} " in line for line in lines)


def test_a_page_in_clear_with_much_to_load(run: Tool, home: Path, pair: Pair, site: Site) -> None:
    """Scripts from two destinations; the page says when all have run."""
    number = 40
    for index in range(number):
        (site.folder / f"{index}.js").write_text(f"seen.push({index});" + "//" * 10_000)
    with Site(site.folder).serving() as other:
        sources = [f"{(site, other)[index % 2].url}/{index}.js" for index in range(number)]
        scripts = "".join(f'<script defer src="{source}"></script>' for source in sources)
        done = "addEventListener('load', () => document.title = 'loaded ' + seen.length)"
        page = f"<!doctype html><title>-</title><script>var seen = []; {done}</script>{scripts}"
        (site.folder / "index.html").write_text(page)
        assert f"<title>loaded {number}</title>" in browse(run, home, f"http://{pair.client.host_port}", f"{site.url}/")
        for each in (site, other):
            assert not any("proxy-connection" in fields for _, fields in each.seen)
            lines = [line for line in pair.client.program.stdout if line.startswith(f"pog: {each.host_port} ")]
            assert 1 <= len(lines) < number / 2, "connections and tunnels are used again"
            assert all(" HTTP " in line for line in lines)
