"""The unary services of the original: health check and stacks."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from google.protobuf import descriptor_pool

import pog
from pog.proto import gstacks_pb2, healthcheck_pb2
from pog.proto.gstacks_grpc import GoroutineStacksBase
from pog.proto.healthcheck_grpc import HealthcheckBase
from pog.server.stacks import all_stacks

if TYPE_CHECKING:
    import grpclib.server
    from google.protobuf.descriptor import FileDescriptor

APP_NAME = "proxy-over-grpc server"


class Healthcheck(HealthcheckBase):
    """Answers with name, version and uptime."""

    def __init__(self) -> None:
        self._started = time.monotonic()

    async def Invoke(self, stream: grpclib.server.Stream[healthcheck_pb2.Request, healthcheck_pb2.Response]) -> None:
        await stream.recv_message()
        uptime = time.monotonic() - self._started
        data = {
            "app": APP_NAME,
            "uptime": f"{uptime:.3f}s",
            "uptime_seconds": int(uptime),
            "version": pog.__version__,
        }
        await stream.send_message(healthcheck_pb2.Response(data=json.dumps(data)))


class GoroutineStacks(GoroutineStacksBase):
    """Shows where every task and thread is. Its name is the original's, whose tasks are goroutines."""

    async def Invoke(self, stream: grpclib.server.Stream[gstacks_pb2.Request, gstacks_pb2.Response]) -> None:
        await stream.recv_message()
        await stream.send_message(gstacks_pb2.Response(data=all_stacks()))


class SymbolPool:
    """protobuf's pool for server reflection, which may be asked for a method as well (`grpcurl describe Health.Check`);
    the pool itself finds a file by every other symbol."""

    def __init__(self) -> None:
        self._pool: Any = descriptor_pool.Default()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)

    def FindFileContainingSymbol(self, symbol: str) -> FileDescriptor:
        """Raises KeyError for a symbol that is unknown."""
        try:
            file: FileDescriptor = self._pool.FindFileContainingSymbol(symbol)
        except KeyError:
            file = self._pool.FindMethodByName(symbol).containing_service.file
        return file
