"""Names to addresses, by the system's own rules: nsswitch, /etc/hosts and DNS count as for every other program.

libc's getaddrinfo blocks its thread for as long as it takes, and nothing can interrupt it. Event loops give it a few
threads for all names together, and wait for these when they close; so a few names whose resolver never answers would
stop all others. Here:

1. A lookup has a daemon thread of its own. Requests for a name whose lookup is under way wait for that one.
2. A caller may give up at any time. The thread goes on until libc returns; its answer serves later requests.
3. There are at most MAX_LOOKUPS threads. Beyond that, lookups wait in order for up to QUEUE_TIMEOUT seconds.
4. Answers are kept for KEEP_SECONDS. Failures are not: the next request may find the network up again.
5. Nothing waits for the threads at the end of the process.
"""

from __future__ import annotations

import asyncio
import errno
import functools
import socket
import threading
from collections import OrderedDict
from contextlib import suppress
from typing import TYPE_CHECKING

from pog.errors import LimitReached
from pog.process.timers import after

if TYPE_CHECKING:
    from collections.abc import Callable

    from pog.process.timers import Timer

    SockAddr = tuple[str, int] | tuple[str, int, int, int]
    # One item of what socket.getaddrinfo returns.
    AddrInfo = tuple[socket.AddressFamily, socket.SocketKind, int, str, SockAddr]
    Found = tuple[AddrInfo, ...]
    Lookup = Callable[[str], list[AddrInfo]]

# Go allows 500 threads in getaddrinfo at a time (net/cgo_unix.go). One that hangs holds about 30 KB of memory.
MAX_LOOKUPS = 512
# When all threads hang, a caller learns it soon: another exit may be better off. Seconds.
QUEUE_TIMEOUT = 1.0
# Enough for the connections of one web page, and shorter than any time to live that people fail over with. Seconds.
KEEP_SECONDS = 5.0
# Names whose answers are kept; about 1 KB each.
_KEPT_NAMES = 1024

_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class Answers:
    """The addresses of names for `seconds` after they were found; of more than `limit` names, the latest."""

    def __init__(self, seconds: float = KEEP_SECONDS, limit: int = _KEPT_NAMES) -> None:
        self._seconds = seconds
        self._limit = limit
        self._kept: dict[str, tuple[float, Found]] = {}  # the oldest first

    def get(self, name: str, now: float) -> Found | None:
        """The addresses, or None when they are not known or too old."""
        kept = self._kept.get(name)
        if kept is None:
            return None
        if now - kept[0] < self._seconds:
            return kept[1]
        del self._kept[name]
        return None

    def put(self, name: str, found: Found, now: float) -> None:
        """Keeps the addresses; they replace those known before."""
        self._kept.pop(name, None)
        if len(self._kept) >= self._limit:
            del self._kept[next(iter(self._kept))]
        self._kept[name] = now, found


def getaddrinfo(host: str) -> list[AddrInfo]:
    """All addresses of a name for TCP, with port 0. Blocks. Raises OSError and UnicodeError."""
    return socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)  # type: ignore[return-value]  # not of Python without IPv6


@functools.lru_cache(1024)
def literal(host: str, port: int) -> Found:
    """What getaddrinfo says of an address; nothing for a name."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except (OSError, ValueError):  # ValueError: NUL
            continue
        return ((family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port)),)
    return ()


class Resolver:
    """Looks names up for the callers of one event loop. `lookup` blocks and is called in threads."""

    def __init__(
        self,
        lookup: Lookup = getaddrinfo,
        *,
        max_lookups: int = MAX_LOOKUPS,
        queue_timeout: float = QUEUE_TIMEOUT,
        answers: Answers | None = None,
    ) -> None:
        self._lookup = lookup
        self._max_lookups = max_lookups
        self._queue_timeout = queue_timeout
        self._answers = answers or Answers()
        # By name. An error is a result of the future: as its exception it would be logged when nobody waits any more.
        self._pending: dict[str, asyncio.Future[Found | Exception]] = {}
        self._queue: OrderedDict[str, Timer] = OrderedDict()
        self._threads = 0

    @property
    def threads(self) -> int:
        """Lookups that libc has not answered yet."""
        return self._threads

    async def resolve(self, host: str, port: int) -> Found:
        """The addresses of a name, or of an address, in the system's order of preference; never empty.

        Raises OSError (mostly socket.gaierror) when there is none, UnicodeError for a name that IDNA cannot encode,
        LimitReached when this process cannot ask: it has no thread or no descriptor left.
        """
        if address := literal(host, port):
            return address
        name = host.lower() if host.isascii() else host
        found: Found | Exception | None = self._answers.get(name, asyncio.get_running_loop().time())
        if found is None:
            found = await asyncio.shield(self._pending.get(name) or self._begin(name))
        if isinstance(found, Exception):
            raise found
        return tuple((*info[:4], (info[4][0], port, *info[4][2:])) for info in found)

    def _begin(self, name: str) -> asyncio.Future[Found | Exception]:
        pending = self._pending[name] = asyncio.get_running_loop().create_future()
        if self._threads < self._max_lookups:
            self._start(name)
        else:
            self._queue[name] = after(self._queue_timeout, functools.partial(self._waited_too_long, name))
        return pending

    def _start(self, name: str) -> None:
        loop = asyncio.get_running_loop()
        thread = threading.Thread(target=self._run, args=(loop, name), name=f"resolve {name}", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            self._finish(name, LimitReached(str(error)))
        else:
            self._threads += 1

    def _waited_too_long(self, name: str) -> None:
        del self._queue[name]
        self._finish(name, LimitReached(f"{self._threads} names are being looked up, the limit"))

    def _run(self, loop: asyncio.AbstractEventLoop, name: str) -> None:
        """In a thread of its own."""
        outcome: Found | Exception
        try:
            found = self._lookup(name)
            outcome = tuple(info for info in found if info[0] in (socket.AF_INET, socket.AF_INET6))
            if not outcome:
                outcome = socket.gaierror(socket.EAI_NONAME, "no address of IPv4 or IPv6")
        except Exception as error:
            outcome = _classified(error)
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(self._returned, name, outcome)

    def _returned(self, name: str, outcome: Found | Exception) -> None:
        self._threads -= 1
        if not isinstance(outcome, Exception):
            self._answers.put(name, outcome, asyncio.get_running_loop().time())
        self._finish(name, outcome)
        while self._queue and self._threads < self._max_lookups:
            waiting, timer = self._queue.popitem(last=False)
            timer.cancel()
            self._start(waiting)

    def _finish(self, name: str, outcome: Found | Exception) -> None:
        pending = self._pending.pop(name)
        if not pending.done():
            pending.set_result(outcome)


def _classified(error: Exception) -> Exception:
    """The error itself, or LimitReached where this process lacks something.

    libc does not always say so: without a descriptor for its DNS socket it reports a temporary failure.
    """
    cause: Exception = error
    if isinstance(error, socket.gaierror):
        try:
            socket.socket().close()
        except OSError as lack:
            cause = lack
    if is_exhausted(cause):
        return LimitReached(cause.strerror)  # type: ignore[attr-defined]
    return error


def is_exhausted(error: Exception) -> bool:
    """Whether the process or its system has no more descriptors, memory or buffers."""
    if isinstance(error, socket.gaierror):
        return error.errno == socket.EAI_MEMORY
    return isinstance(error, OSError) and error.errno in _EXHAUSTED
