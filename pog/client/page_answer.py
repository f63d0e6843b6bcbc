"""The answer to a request for one of the client's pages, from the request to the end of its connection.

A page has a start (status and fields) and content: all of it at once, or pieces. Each piece is asked for when the
kernel has accepted the one before, so a page without an end holds no memory, and a slow reader slows down its source.

state       what it waits for                                       next
MAKING      the page                                                SENDING, CLOSED
SENDING     the page's next piece, or the user, who must take       LINGERING, CLOSED
            some of what was sent within a minute
LINGERING   the user's close; what still arrives is dropped, a      CLOSED
            timer runs
CLOSED      nothing
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from pog.errors import Failure, FailureKind
from pog.front.http1 import answer, answer_head, error_answer
from pog.net.address import is_local
from pog.process.timers import Timer, after
from pog.tunnel.relay import reset

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from pog.front.base import PageRequest

log = logging.getLogger(__name__)

# As nginx's send_timeout; seconds.
NO_PROGRESS_TIMEOUT = 60.0
# An answer followed by a close with unread bytes would be lost to a TCP reset; nginx lingers 5 s. Seconds.
LINGER = 2.0


@dataclass(frozen=True, slots=True)
class Page:
    """`content` is all of it, or a generator of pieces, none of which is empty; it is closed when nobody reads it."""

    status: int
    content_type: str
    content: bytes | AsyncGenerator[bytes, None]
    fields: tuple[tuple[str, str], ...] = ()


class Pages(Protocol):
    """What the client's own port shows."""

    async def answer(self, request: PageRequest, *, tls: bool = False, local: bool = False) -> Page:
        """The page that is asked for, or one that says why there is none; with `tls` the request came by TLS, `local`
        is one from this machine."""


class _NoProgress(Exception):
    """The user takes nothing of an answer."""


class PageAnswer(asyncio.Protocol):
    """Takes over the transport of a connection; `on_lost` is called when that is gone."""

    def __init__(
        self, transport: asyncio.Transport, pages: Pages, request: PageRequest, on_lost: Callable[[], None]
    ) -> None:
        self._transport = transport
        self._pages = pages
        self._request = request
        self._on_lost = on_lost
        self._begun = False
        self._writable = asyncio.Event()
        self._writable.set()
        self._timer: Timer | None = None
        self._task: asyncio.Task[None] | None = None
        # Whether the page comes in pieces, and so may have no end.
        self._is_live = False

    def start(self) -> None:
        """In the running loop."""
        self._transport.set_protocol(self)
        # From now on a write is over when the kernel has accepted all of it.
        # 1 and not 0: uvloop's TLS pauses at the upper mark itself, so that an empty buffer would count as full.
        self._transport.set_write_buffer_limits(high=1, low=0)
        self._transport.resume_reading()
        self._task = asyncio.create_task(self._run(), name="page")

    @property
    def is_idle(self) -> bool:
        """Whether the end of the program need not wait: the page may have no end, or has been sent."""
        return self._is_live or self._timer is not None

    def close(self) -> None:
        """Ends the connection now. What the user has not taken is lost, and does not look complete."""
        self._stop()
        if self._timer is None:
            reset(self._transport)
        else:
            self._transport.close()

    # Called by the event loop

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        """The rest of the request, which no page needs."""

    def eof_received(self) -> bool:
        """A user may be done with sending and wait for the answer; one that follows a live page has left."""
        return self._timer is None and not self._is_live

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop()
        if self._timer is not None:
            self._timer.cancel()
        self._on_lost()

    def _stop(self) -> None:
        if self._task is not None:
            self._task.cancel()

    # The answer

    async def _run(self) -> None:
        try:
            tls = self._transport.get_extra_info("sslcontext") is not None
            local = is_local(self._transport.get_extra_info("peername"))
            await self._send(await self._pages.answer(self._request, tls=tls, local=local))
        except _NoProgress:
            log.info("a page was not read for %g s: its connection is reset", NO_PROGRESS_TIMEOUT)
            reset(self._transport)
        except Exception:
            log.exception("a page failed")
            if self._begun:
                reset(self._transport)
            else:
                self._transport.write(error_answer(Failure(FailureKind.INTERNAL, "internal error")))
                self._linger()
        else:
            self._linger()

    async def _send(self, page: Page) -> None:
        """Raises _NoProgress when the user takes nothing for too long."""
        head_only = self._request.method == "HEAD"
        self._begun = True
        if isinstance(page.content, bytes):
            await self._write(answer(page.status, page.content_type, page.content, [*page.fields], head_only))
            return
        self._is_live = True
        async with aclosing(page.content) as pieces:
            # A client of HTTP/1.0 knows no chunks (RFC 9112 6.1): for it the content ends with the connection.
            chunked = self._request.http_version != "1.0"
            framing = (("Transfer-Encoding", "chunked"),) if chunked else ()
            await self._write(answer_head(page.status, page.content_type, (*page.fields, *framing)))
            if head_only:
                return
            async for piece in pieces:
                await self._write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
            if chunked:
                await self._write(b"0\r\n\r\n")

    async def _write(self, data: bytes) -> None:
        self._transport.write(data)
        while not self._writable.is_set():
            left = self._transport.get_write_buffer_size()
            try:
                async with asyncio.timeout(NO_PROGRESS_TIMEOUT):
                    await self._writable.wait()
            except TimeoutError:
                if self._transport.get_write_buffer_size() >= left:
                    raise _NoProgress from None

    def _linger(self) -> None:
        if self._transport.is_closing():
            return
        if self._transport.can_write_eof():
            self._transport.write_eof()
        else:  # TLS reads on, until the user says its end
            self._transport.close()
        self._timer = after(LINGER, self._transport.abort)
