"""The files of deploy/fronts at work: each front on a free port of loopback, with a certificate of a test's authority.

What differs from the files is replaced here, and each replacement has to find its place.
"""

from __future__ import annotations

import os
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.helpers.process import ROOT, Program
from tests.helpers.watch import eventually
from tests.system.conftest import program

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.helpers.tls import Authority

FRONTS = ROOT / "deploy" / "fronts"

# What a distribution's nginx.conf has around the servers, but for folders, log and user.
NGINX = """\
daemon off;
{user}
pid {folder}/pid;
error_log stderr warn;
events {{ worker_connections 2000; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    {servers}
}}
"""


def replaced(text: str, changes: dict[str, str]) -> str:
    for old, new in changes.items():
        assert old in text, old
        text = text.replace(old, new)
    return text


@contextmanager
def nginx(server: str, folder: Path, authority: Authority, *, tls: bool = True) -> Iterator[str]:
    """nginx in front of `server`; yields its host:port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listen = "{}:{}".format(*listener.getsockname())
        changes = {
            "server 127.0.0.1:8080;": f"server {server};",
            "listen 443 ssl http2;": f"listen {listen} {'ssl http2' if tls else 'http2'};",
            "server_name pog.example.com;": "server_name localhost;",
            "/etc/ssl/pog/fullchain.pem": str(authority.cert_file),
            "/etc/ssl/pog/privkey.pem": str(authority.key_file),
        }
        servers = replaced((FRONTS / "nginx" / "pog.conf").read_text(), changes)
        with nginx_of(servers, folder, listener):
            yield _localhost(listen) if tls else listen


@contextmanager
def nginx_of(servers: str, folder: Path, listener: socket.socket) -> Iterator[None]:
    """nginx with these servers; it takes over the listening socket that its variable names."""
    config = folder / "nginx.conf"
    user = "user root root;" if os.geteuid() == 0 else ""
    config.write_text(NGINX.format(folder=folder, user=user, servers=servers))
    command = [program("nginx"), "-p", str(folder), "-c", str(config), "-e", "stderr"]
    with running(Program(command, {"NGINX": f"{listener.fileno()};"}, fds=[listener.fileno()])):
        yield


@contextmanager
def haproxy(server: str, folder: Path, authority: Authority, *, tls: bool = True) -> Iterator[str]:
    """The same for haproxy, on a listening socket that it inherits."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        os.set_inheritable(listener.fileno(), True)
        certificate = folder / "pog.pem"
        certificate.write_bytes(authority.cert_file.read_bytes() + authority.key_file.read_bytes())
        bind = f"bind fd@{listener.fileno()}"
        changes = {
            "maxconn 20000": "maxconn 500",  # more takes more descriptors than a user may have
            "server pog 127.0.0.1:8080 ": f"server pog {server} ",
            "bind :443" if tls else "bind :443 ssl crt /etc/ssl/pog/pog.pem alpn h2,http/1.1": bind,
        }
        if tls:
            changes["/etc/ssl/pog/pog.pem"] = str(certificate)
        config = folder / "haproxy.cfg"
        config.write_text(replaced((FRONTS / "haproxy" / "haproxy.cfg").read_text(), changes))
        listen = "{}:{}".format(*listener.getsockname())
        with running(Program([program("haproxy"), "-db", "-f", str(config)], fds=[listener.fileno()])):
            yield _localhost(listen) if tls else listen


@contextmanager
def caddy(server: str, folder: Path, authority: Authority) -> Iterator[str]:
    """The same for Caddy, whose port is chosen before it starts."""
    with socket.create_server(("127.0.0.1", 0)) as chosen:
        port = chosen.getsockname()[1]
    changes = {
        "{\n\tservers {": "{\n\tadmin off\n\tauto_https disable_redirects\n\tpersist_config off\n\tservers {",
        "pog.example.com {": f"https://localhost:{port} {{\n\tbind 127.0.0.1",
        "# tls /etc/ssl/pog/fullchain.pem /etc/ssl/pog/privkey.pem": f"tls {authority.cert_file} {authority.key_file}",
        "h2c://127.0.0.1:8080": f"h2c://{server}",
    }
    config = folder / "Caddyfile"
    config.write_text(replaced((FRONTS / "caddy" / "Caddyfile").read_text(), changes))
    command = [program("caddy"), "run", "--config", str(config), "--adapter", "caddyfile"]
    with running(Program(command, {"XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)})):
        eventually(lambda: check_listens(port))
        yield f"localhost:{port}"


def check_listens(port: int) -> None:
    with socket.socket() as sock:
        assert sock.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def running(box: Program) -> Iterator[None]:
    try:
        yield
        assert box.running(), box.output()
    finally:
        box.kill()


def _localhost(listen: str) -> str:
    """By the name in the certificate."""
    return f"localhost:{listen.rpartition(':')[2]}"
