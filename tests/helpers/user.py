"""The user's side: a program that speaks CONNECT to the proxy over a plain blocking socket."""

from __future__ import annotations

import base64
import hashlib
import http.client
import re
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Mapping

Address = tuple[str, int]
# No answer on loopback takes longer, whatever the load.
SECONDS = 15.0
_CHUNK = 1 << 18


@dataclass(slots=True)
class Answer:
    """What the proxy said to a CONNECT; with status 200 its socket is a tunnel."""

    sock: socket.socket
    status: int
    reason: str
    fields: dict[str, str]
    rest: bytes
    head: bytes

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def half_close(self) -> None:
        self.sock.shutdown(socket.SHUT_WR)

    def receive(self, size: int) -> bytes:
        """Exactly `size` bytes; raises EOFError when the tunnel ends before."""
        data = bytearray()
        while len(data) < size:
            part = self._take(min(_CHUNK, size - len(data)))
            if not part:
                raise EOFError(f"{len(data)} of {size} bytes")
            data += part
        return bytes(data)

    def receive_all(self) -> bytes:
        """Everything until the end of the stream."""
        data = bytearray()
        while part := self._take(_CHUNK):
            data += part
        return bytes(data)

    def receive_digest(self) -> tuple[int, str]:
        """Count and SHA-256 of everything until the end of the stream."""
        sha, size = hashlib.sha256(), 0
        while part := self._take(_CHUNK):
            sha.update(part)
            size += len(part)
        return size, sha.hexdigest()

    def _take(self, size: int) -> bytes:
        if self.rest:
            part, self.rest = self.rest[:size], self.rest[size:]
            return part
        return self.sock.recv(size)

    @property
    def body(self) -> str:
        """The text of a refusal."""
        length = self.fields.get("content-length")
        return (self.receive_all() if length is None else self.receive(int(length))).decode()

    def close(self) -> None:
        self.sock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def connect_head(target: str, fields: Mapping[str, str] | None = None) -> bytes:
    lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}", *(f"{k}: {v}" for k, v in (fields or {}).items())]
    return "\r\n".join([*lines, "", ""]).encode()


def connect(proxy: Address, target: str, fields: Mapping[str, str] | None = None, early: bytes = b"") -> Answer:
    """Asks for a tunnel; `early` goes out in the same segment as the request's head."""
    return send_head(proxy, connect_head(target, fields) + early)


def send_head(proxy: Address, data: bytes) -> Answer:
    """Sends raw bytes to the proxy and reads the head of its answer."""
    sock = socket.create_connection(proxy, SECONDS)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.sendall(data)
        return read_answer(sock)
    except BaseException:
        sock.close()
        raise


def read_answer(sock: socket.socket) -> Answer:
    """Reads a response head; what follows it stays in the answer."""
    data = b""
    while b"\r\n\r\n" not in data:
        part = sock.recv(_CHUNK)
        if not part:
            raise EOFError(f"the connection ended after {data!r}")
        data += part
    head, _, rest = data.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    version, status, *reason = first.split(" ", 2)
    assert version == "HTTP/1.1", first
    fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return Answer(sock, int(status), "".join(reason), fields, rest, head)


def get(address: Address, path: str, fields: Mapping[str, str] | None = None) -> tuple[int, str]:
    """One HTTP/1.1 GET: status and text."""
    connection = http.client.HTTPConnection(*address, timeout=SECONDS)
    try:
        connection.request("GET", path, headers=dict(fields or {}))
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def samples(text: str) -> dict[str, float]:
    """Metrics in text form as `name{label="value",...}` (labels sorted) → value; names as they stand there."""
    found = {}
    for line in text.splitlines():
        if match := re.fullmatch(r"(\w+)(?:\{(.*)\})? (\S+)", line):
            name, labels, value = match.groups()
            pairs = sorted(re.findall(r'\w+="(?:[^"\\]|\\.)*"', labels or ""))
            found[f"{name}{{{','.join(pairs)}}}" if pairs else name] = float(value)
    return found
