"""ID tokens from a fake gcloud, a fake metadata server and a fake token endpoint."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from pog.auth.tokens import HEADER, IdTokens, Token, source
from pog.errors import ExitUnavailable, SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

AUDIENCE = "https://pog.example"


def jwt(expires: float, **claims: object) -> str:
    parts = [{"alg": "none"}, {"exp": int(expires), **claims}]
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts]
    return ".".join([*encoded, "c2ln"])


class Google(HTTPServer):
    """The metadata server and the token endpoint; `asked` are the requests that came."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[tuple[str, str, str]] = []
        self.token = jwt(time.time() + 3600)

    @property
    def at(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Google

    def do_GET(self) -> None:
        self.server.asked.append(("GET", self.path, self.headers.get("Metadata-Flavor", "")))
        if "/identity" in self.path:
            self.answer(self.server.token.encode(), "text/plain")
        else:
            self.answer(json.dumps({"email": "pog@example", "scopes": [], "aliases": []}).encode(), "application/json")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.server.asked.append(("POST", self.path, body))
        self.answer(json.dumps({"id_token": self.server.token}).encode(), "application/json")

    def answer(self, body: bytes, content_type: str) -> None:
        self.send_response(200)
        self.send_header("Metadata-Flavor", "Google")
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def google() -> Iterator[Google]:
    with running() as server:
        yield server


@contextmanager
def running() -> Iterator[Google]:
    server = Google()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_gcloud_is_asked_for_the_audience_and_without_it_where_a_person_is_logged_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = jwt(time.time() + 3600)
    gcloud = tmp_path / "gcloud"
    gcloud.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\necho {token}\n')
    gcloud.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert Token.parse(source("gcloud", AUDIENCE)()).text == token
    assert (tmp_path / "asked").read_text() == f"auth print-identity-token --audiences={AUDIENCE}\n"
    refusal = 'case "$*" in *--audiences*) echo "Invalid account type for --audiences" >&2; exit 1;; esac'
    gcloud.write_text(f"#!/bin/sh\n{refusal}\necho {token}\n")
    assert Token.parse(source("gcloud", AUDIENCE)()).text == token
    gcloud.write_text('#!/bin/sh\necho "You are not logged in" >&2\nexit 1\n')
    with pytest.raises(RuntimeError, match="gcloud: You are not logged in"):
        source("gcloud", AUDIENCE)()


def test_the_metadata_server_is_asked_as_google_wants_it(google: Google, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GCE_METADATA_HOST", google.at)
    monkeypatch.setenv("GCE_METADATA_ROOT", google.at)
    assert Token.parse(source("metadata", AUDIENCE)()).text == google.token
    method, path, flavor = next(each for each in google.asked if "/identity" in each[1])
    assert (method, flavor) == ("GET", "Google")
    assert parse_qs(urlsplit(path).query)["audience"] == [AUDIENCE]


def test_a_service_accounts_key_is_exchanged_for_a_token(google: Google, tmp_path: Path) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    info = {
        "type": "service_account",
        "client_email": "pog@example.iam.gserviceaccount.com",
        "private_key": key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
        "private_key_id": "1",
        "token_uri": f"http://{google.at}/token",
    }
    path = tmp_path / "key.json"
    path.write_text(json.dumps(info))
    assert Token.parse(source(str(path), AUDIENCE)()).text == google.token
    assertion = parse_qs(google.asked[-1][2])["assertion"][0].split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(assertion + "=="))
    assert claims["target_audience"] == AUDIENCE


def test_what_could_never_work_is_said_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SettingsError, match="iam: gcloud is not installed"):
        source("gcloud", AUDIENCE)
    with pytest.raises(SettingsError, match=r"iam: .*nowhere\.json: No such file"):
        source(str(tmp_path / "nowhere.json"), AUDIENCE)
    monkeypatch.setitem(__import__("sys").modules, "google.auth.transport.requests", None)
    with pytest.raises(
        SettingsError, match=r"metadata needs the package google-auth: pip install 'google-auth\[requests\]'"
    ):
        source("metadata", AUDIENCE)


@pytest.mark.parametrize("text", ["", "a.b", "a.b.c", "x", jwt(1).replace(".", ","), "é.é.é", "e30.e30.e30"])
def test_what_is_no_token_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # binascii's and json's own among them
        Token.parse(text)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


async def test_a_token_is_used_while_it_is_good_and_its_lack_is_named() -> None:
    clock, answers = Clock(), [jwt(2000), "nonsense", jwt(9000)]
    tokens = IdTokens("west", lambda: answers.pop(0), clock)
    assert tokens.header() is None
    first = await tokens._refreshed()
    assert first == 2000 - 1000 - 300
    await tokens.ready()
    assert tokens.header() == (HEADER, f"Bearer {jwt(2000)}")
    clock.now += first
    assert await tokens._refreshed() == 10, "soon again"
    await tokens.ready()
    clock.now = 2000
    with pytest.raises(ExitUnavailable, match="no ID token: that is no ID token"):
        await tokens.ready()
    await tokens._refreshed()
    await tokens.ready()


async def test_the_end_waits_for_no_source() -> None:
    hang = threading.Event()
    tokens = IdTokens("west", lambda: str(hang.wait(20)))
    tokens.start()
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await tokens.close()
    hang.set()
