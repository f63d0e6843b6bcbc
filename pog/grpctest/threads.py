"""Services for tests that block: on a loop of their own, in a thread of their own."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from contextlib import contextmanager
from threading import Thread
from typing import TYPE_CHECKING

from pog.grpctest.serving import serve
from pog.grpctest.transports import Transport

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pog.grpctest.faults import Faults
    from pog.grpctest.serving import Serving
    from pog.grpctest.transports import Service


@contextmanager
def serve_in_thread(
    *services: Service, transport: Transport | str = Transport.TCP, faults: Faults | None = None, port: int = 0
) -> Iterator[Serving]:
    """As `serve`, for a client that blocks, such as grpcio's own or another process.

    Of what it gives, `address`, `ca_pem` and the faults are for other threads; `channel` is for the loop's own. Raises
    as `serve`, and ValueError for services in memory, which nothing outside the loop can reach.
    """
    if Transport(transport) is Transport.MEMORY:
        raise ValueError("services in memory cannot be reached from another thread")
    started: Future[Serving] = Future()
    ended: Future[None] = Future()
    loop = asyncio.new_event_loop()
    ending = asyncio.Event()

    async def main() -> None:
        async with serve(*services, transport=transport, faults=faults, port=port) as serving:
            started.set_result(serving)
            await ending.wait()

    def work() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            try:
                runner.run(main())
            except BaseException as error:
                (ended if started.done() else started).set_exception(error)
            else:
                ended.set_result(None)

    thread = Thread(target=work, name="grpctest", daemon=True)
    thread.start()
    try:
        yield started.result()
    finally:
        if started.exception() is None:
            loop.call_soon_threadsafe(ending.set)
        thread.join()
        if started.exception() is None:
            ended.result()
