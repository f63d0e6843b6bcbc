"""The services under test as grpclib and ASGI apps take them: one mapping of paths to handlers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grpclib.exceptions import GRPCError

from pog.grpctest.leftovers import begin_call

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    import grpclib.server
    from grpclib.const import Handler

    from pog.grpctest.faults import Faults
    from pog.grpctest.transports import Service


class Mapping:
    """Many services as one."""

    def __init__(self, services: Iterable[Service], faults: Faults | None) -> None:
        self._faults = faults
        self._handlers = {
            path: handler._replace(func=self._judged(path, handler.func))
            for service in services
            for path, handler in service.__mapping__().items()
        }

    def __mapping__(self) -> dict[str, Handler]:
        return self._handlers

    def _judged(self, path: str, serve: Callable[[Any], Any]) -> Callable[[Any], Any]:
        async def call(stream: grpclib.server.Stream[Any, Any]) -> None:
            if self._faults is not None and (status := self._faults.trailers_only) is not None:
                raise GRPCError(status.status, status.message, status.details)
            begin_call(path, handler := serve(stream))
            await handler

        return call
