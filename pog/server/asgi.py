"""ASGI over a stream of our own HTTP/2, as Hypercorn's HTTPStream is for its own. Not used for calls of gRPC."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from h2.exceptions import ProtocolError

from pog.errors import TunnelError

if TYPE_CHECKING:
    from starlette.types import Message, Scope

    from pog.http2.stream import Stream

    Address = tuple[str, int]

# A target in absolute-form. A login before the host is an error by RFC 9110 4.2.4, and so is a missing host by 4.2.1.
_ABSOLUTE = re.compile(rb"(https?)://([^/?#@]+)([/?].*)?", re.IGNORECASE | re.DOTALL)
# Answers to these have no content: RFC 9110 6.4.1.
_WITHOUT_CONTENT = (204, 304)


def http_scope(stream: Stream, *, scheme: str, client: Address | None, server: Address | None) -> Scope:
    """The ASGI scope of a request whose head has come."""
    fields: dict[str, str] = {}
    headers: list[tuple[bytes, bytes]] = []
    for name, value in stream.headers or ():
        if name[0] == ":":
            fields[name] = value
        else:
            headers.append((name.encode("latin-1"), value.encode("latin-1")))
    if ":authority" in fields:  # RFC 9113 8.3.1: it is the Host field of older versions, and counts where both are sent
        others = [field for field in headers if field[0] != b"host"]
        headers = [(b"host", fields[":authority"].encode("latin-1")), *others]
    path, _, query = fields.get(":path", "").partition("?")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "2",
        "method": fields[":method"],
        "scheme": scheme,
        "path": unquote(path),
        "raw_path": path.encode("latin-1"),
        "query_string": query.encode("latin-1"),
        "root_path": "",
        "headers": headers,
        "client": client,
        "server": server,
        "state": {},
        "extensions": {"http.response.trailers": {}},
    }


def in_origin_form(scope: Scope) -> Scope:
    """The scope of a request whose target may be a whole URL, as in `GET http://host/path HTTP/1.1`.

    RFC 9112 3.2.2: a server must accept it, and use its host instead of the Host field.
    """
    if (url := absolute(scope.get("raw_path") or b"/")) is None:
        return scope
    scheme, authority, path = url
    headers = [(name, value) for name, value in scope["headers"] if name != b"host"]
    return {
        **scope,
        "scheme": scheme.decode("ascii"),
        "path": unquote(path.decode("latin-1")),
        "raw_path": path,
        "headers": [(b"host", authority), *headers],
    }


def absolute(target: bytes) -> tuple[bytes, bytes, bytes] | None:
    """Scheme, authority, and path with query of a target in absolute-form; None for any other."""
    if target[:1] == b"/" or not (found := _ABSOLUTE.fullmatch(target)):
        return None
    scheme, authority, rest = found.groups(b"/")
    return scheme.lower(), authority, rest if rest[:1] == b"/" else b"/" + rest


class AsgiExchange:
    """One request and its answer, as the two callables of ASGI."""

    def __init__(self, stream: Stream, method: str) -> None:
        self._stream = stream
        self._method = method
        self._request_ended = False
        self._trailers_follow = False
        self._without_content = False
        self.started = False
        self.ended = False

    async def receive(self) -> Message:
        """The next piece of the request; after its end, waits until the client disconnects."""
        try:
            if not self._request_ended:
                body = await self._stream.recv_chunk()
                self._request_ended = not body
                return {"type": "http.request", "body": body, "more_body": bool(body)}
            if not self.ended:
                await self._stream.wait_lost()
        except TunnelError:
            pass
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Messages after the client has disconnected are dropped, as the ASGI specification requires."""
        try:
            match message["type"]:
                case "http.response.start":
                    await self._start(message)
                case "http.response.body":
                    await self._body(message)
                case "http.response.trailers":
                    await self._stream.send_headers(_text(message["headers"]), end_stream=True)
                    self.ended = True
                case other:
                    raise RuntimeError(f"unexpected ASGI message {other}")
        except (ProtocolError, TunnelError):
            self.ended = True

    async def _start(self, message: Message) -> None:
        status = message["status"]
        self.started = True
        self._trailers_follow = message.get("trailers", False)
        self._without_content = self._method == "HEAD" or status in _WITHOUT_CONTENT
        await self._stream.send_headers([(":status", str(status)), *_text(message.get("headers", ()))])

    async def _body(self, message: Message) -> None:
        last = not message.get("more_body", False)
        body = b"" if self._without_content else message.get("body", b"")
        ends = last and not self._trailers_follow
        if body or ends:
            await self._stream.send_data(body, end_stream=ends)
        self.ended = self.ended or ends


def _text(headers: Any) -> list[tuple[str, str]]:
    return [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in headers]
