"""An origin of plain HTTP, on h11: it answers as the path asks, and says what it saw."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import h11

from tests.helpers.origin import BLOCK, blocks

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable


async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One request after another.

    /seen       JSON: the request line, the fields in their order, count and SHA-256 of the content
    /length/N   N bytes of `blocks`, with their length
    /chunked/N  the same in chunks, and a trailer field
    /end/N      the same, up to the end of the connection
    /early      an interim answer (103) before the answer
    /status/N   no content, with this status
    /cut/N      half of what it announces, and the end
    /quiet      no answer, and the end
    /echo       after 101 everything comes back
    """
    connection = h11.Connection(h11.SERVER)
    while True:
        request = await _next(connection, reader)
        if not isinstance(request, h11.Request):
            return
        sha, size = hashlib.sha256(), 0
        while isinstance(event := await _next(connection, reader), h11.Data):
            sha.update(event.data)
            size += len(event.data)
        _, how, *argument = request.target.decode().partition("?")[0].split("/")
        head = request.method == b"HEAD"
        number = int(argument[0]) if argument else 0
        if how == "seen":
            await _content(connection, writer, json.dumps(_seen(request, size, sha.hexdigest())).encode())
        elif how == "echo":
            await _echo(connection, reader, writer)
            return
        elif how == "quiet":
            return
        elif how == "early":
            fields = [("Link", "</s>; rel=preload")]
            writer.write(connection.send(h11.InformationalResponse(status_code=103, headers=fields)) or b"")
            await _content(connection, writer, b"late")
        elif how == "status":
            writer.write(connection.send(h11.Response(status_code=number, headers=[])) or b"")
            writer.write(connection.send(h11.EndOfMessage()) or b"")
        else:
            await _FRAMED[how](connection, writer, number, head)
        if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
            return
        connection.start_next_cycle()


def _seen(request: h11.Request, size: int, digest: str) -> dict[str, object]:
    line = f"{request.method.decode()} {request.target.decode()} HTTP/{request.http_version.decode()}"
    fields = [(name.decode(), value.decode("latin-1")) for name, value in request.headers.raw_items()]
    return {"line": line, "fields": fields, "size": size, "sha256": digest}


async def _next(connection: h11.Connection, reader: asyncio.StreamReader) -> object:
    while (event := connection.next_event()) is h11.NEED_DATA:
        connection.receive_data(await reader.read(BLOCK))
    return event


async def _content(connection: h11.Connection, writer: asyncio.StreamWriter, content: bytes) -> None:
    fields = [("Content-Length", str(len(content)))]
    for event in (h11.Response(status_code=200, headers=fields), h11.Data(data=content), h11.EndOfMessage()):
        writer.write(connection.send(event) or b"")
    await writer.drain()


async def _blocks(
    connection: h11.Connection, writer: asyncio.StreamWriter, size: int, head: bool, fields: list[tuple[str, str]]
) -> None:
    writer.write(connection.send(h11.Response(status_code=200, headers=fields)) or b"")
    for block in () if head else blocks(size):
        writer.write(connection.send(h11.Data(data=block)) or b"")
        await writer.drain()


async def _length(connection: h11.Connection, writer: asyncio.StreamWriter, size: int, head: bool) -> None:
    await _blocks(connection, writer, size, head, [("Content-Length", str(size))])
    writer.write(connection.send(h11.EndOfMessage()) or b"")


async def _chunked(connection: h11.Connection, writer: asyncio.StreamWriter, size: int, head: bool) -> None:
    await _blocks(connection, writer, size, head, [("Transfer-Encoding", "chunked"), ("Trailer", "X-Sum")])
    writer.write(connection.send(h11.EndOfMessage(headers=[] if head else [("X-Sum", str(size))])) or b"")


async def _end(connection: h11.Connection, writer: asyncio.StreamWriter, size: int, head: bool) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")  # h11 would send chunks
    for block in () if head else blocks(size):
        writer.write(block)
        await writer.drain()


async def _cut(connection: h11.Connection, writer: asyncio.StreamWriter, size: int, head: bool) -> None:
    await _blocks(connection, writer, size // 2, head, [("Content-Length", str(size))])


_FRAMED: dict[str, Callable[[h11.Connection, asyncio.StreamWriter, int, bool], Awaitable[None]]] = {
    "length": _length,
    "chunked": _chunked,
    "end": _end,
    "cut": _cut,
}


async def _echo(connection: h11.Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    fields = [("Upgrade", "echo"), ("Connection", "Upgrade")]
    writer.write(connection.send(h11.InformationalResponse(status_code=101, headers=fields)) or b"")
    writer.write(connection.trailing_data[0])
    while data := await reader.read(BLOCK):
        writer.write(data)
        await writer.drain()
