"""ID tokens for servers behind Google's IAM (a Cloud Run service that does not allow everybody).

    gcloud      asks the gcloud command: for a person, on a workstation
    metadata    asks the metadata server: on a machine of Google's
    FILE        signs with the key of a service account, or what else google-auth reads

The last two are google-auth's, which the extra `gcp` brings. A token is good for an hour. It is fetched in a
thread, and again before it ends; while that fails the old one is used as long as it is good.

It goes into X-Serverless-Authorization: with both fields there Cloud Run checks only that one, and Authorization, which
holds the user of the server, passes through (cloud.google.com/run/docs/authenticating/service-to-service).
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import shutil
import subprocess
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pog.errors import ExitUnavailable, SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)

HEADER = "x-serverless-authorization"
# Clocks differ, and a tunnel that waits for its server must not arrive with a token that has just ended. Seconds.
_REFRESH_BEFORE = 300.0
_RETRY_AFTER = 10.0
_GCLOUD_TIMEOUT = 30.0
_EXTRA = "needs the package google-auth: pip install 'google-auth[requests]'"


@dataclass(frozen=True, slots=True)
class Token:
    """One token; `expires` is Unix time."""

    text: str
    expires: float

    @classmethod
    def parse(cls, text: str) -> Token:
        """What a source gave. Raises ValueError when it is no JWT (RFC 7519) with an end."""
        parts = text.strip().split(".")
        if len(parts) != 3 or not text.strip().isascii():
            raise ValueError("that is no ID token")
        payload = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        if not isinstance(payload, dict) or not isinstance(payload.get("exp"), int | float):
            raise ValueError("the ID token does not say when it ends")
        return cls(text.strip(), float(payload["exp"]))


def source(iam: str, audience: str) -> Callable[[], str]:
    """What fetches a token, blocking. Raises SettingsError when it could never work."""
    if iam == "gcloud":
        if shutil.which("gcloud") is None:
            raise SettingsError("iam", "gcloud is not installed")
        return lambda: _from_gcloud(audience)
    try:
        import google.auth
        import google.auth.transport.requests  # noqa: F401
    except ImportError:
        raise SettingsError("iam", f"{iam} {_EXTRA}") from None
    if iam == "metadata":
        return lambda: _from_metadata(audience)
    try:
        with open(iam, "rb"):
            pass
    except OSError as error:
        raise SettingsError("iam", f"{iam}: {error.strerror}") from None
    return lambda: _from_file(iam, audience)


def _from_gcloud(audience: str) -> str:
    """A person's account has no audiences of its own; a service account's has."""
    done = _gcloud(f"--audiences={audience}")
    if done.returncode and "audiences" in done.stderr:
        done = _gcloud()
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"status {done.returncode}"]
        raise RuntimeError(f"gcloud: {said[0]}")
    return done.stdout


def _gcloud(*flags: str) -> subprocess.CompletedProcess[str]:
    command = ["gcloud", "auth", "print-identity-token", *flags]
    return subprocess.run(command, capture_output=True, text=True, timeout=_GCLOUD_TIMEOUT)


def _from_metadata(audience: str) -> str:
    from google.auth.compute_engine import IDTokenCredentials
    from google.auth.transport.requests import Request

    request = Request()
    credentials = IDTokenCredentials(request, audience, use_metadata_identity_endpoint=True)  # type: ignore[no-untyped-call]
    credentials.refresh(request)  # type: ignore[no-untyped-call]
    return str(credentials.token)


def _from_file(path: str, audience: str) -> str:
    from google.auth.transport.requests import Request
    from google.oauth2.service_account import IDTokenCredentials

    credentials = IDTokenCredentials.from_service_account_file(path, target_audience=audience)  # type: ignore[no-untyped-call]
    credentials.refresh(Request())
    return str(credentials.token)


class IdTokens:
    """The token of one exit, kept fresh from `start` to `close`."""

    def __init__(self, name: str, fetch: Callable[[], str], now: Callable[[], float] = time.time) -> None:
        self._name = name
        self._fetch = fetch
        self._now = now
        self._token: Token | None = None
        self._task: asyncio.Task[None] | None = None
        self._fetched = asyncio.Event()
        self._problem = ""

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run(), name=f"ID token {self._name}")

    def cancel(self) -> None:
        """No token is fetched any more; the present one stays."""
        if self._task is not None:
            self._task.cancel()

    async def close(self) -> None:
        self.cancel()
        if self._task is not None:
            await asyncio.wait((self._task,))

    def header(self) -> tuple[str, str] | None:
        """The header field with the present token, or None while there is none that is good."""
        token = self._token
        if token is None or token.expires <= self._now():
            return None
        return HEADER, f"Bearer {token.text}"

    async def ready(self) -> None:
        """Waits for the first answer of the source. Raises ExitUnavailable while there is no good token."""
        await self._fetched.wait()
        if self.header() is None:
            raise ExitUnavailable(f"no ID token: {self._problem or 'it has ended'}")

    async def _run(self) -> None:
        while True:  # noqa: ASYNC110  # nobody could set an event: time passes
            await asyncio.sleep(await self._refreshed())

    async def _refreshed(self) -> float:
        """Fetches a token; the seconds until the next time."""
        try:
            token = Token.parse(await _in_thread(self._fetch, f"ID token {self._name}"))
        except Exception as error:
            problem = " ".join(f"{error}".split())[:300] or type(error).__name__
            level = logging.DEBUG if problem == self._problem else logging.WARNING
            log.log(level, "exit %s: no new ID token: %s", self._name, problem)
            self._problem = problem
            self._fetched.set()
            return _RETRY_AFTER
        self._token, self._problem = token, ""
        self._fetched.set()
        return max(_RETRY_AFTER, token.expires - self._now() - _REFRESH_BEFORE)


async def _in_thread(work: Callable[[], str], name: str) -> str:
    """As asyncio.to_thread, in a daemon thread: the end of the program waits for no network."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[str] = loop.create_future()

    def settle(result: str, error: Exception | None) -> None:
        if not done.done():
            done.set_exception(error) if error is not None else done.set_result(result)

    def run() -> None:
        result, error = "", None
        try:
            result = work()
        except Exception as caught:
            error = caught
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=run, name=name, daemon=True).start()
    return await done
