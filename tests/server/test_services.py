"""The services besides the tunnels, asked by grpcio over the engine."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, TypeVar

import grpc
import pytest
from google.protobuf.message import Message
from grpclib.health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from pog.config.auth_items import parse_item
from pog.proto import gstacks_pb2, healthcheck_pb2
from pog.server import health
from tests.helpers.items import item
from tests.helpers.user import basic
from tests.server.support import SECONDS, services

if TYPE_CHECKING:
    from tests.server.support import Serving

M = TypeVar("M", bound=Message)

STACKS = "/gstacks.GoroutineStacks/Invoke"


async def ask(serving: Serving, method: str, request: Message, answer: type[M], login: str = "") -> M:
    call = serving.channel.unary_unary(
        method, request_serializer=lambda message: message.SerializeToString(), response_deserializer=answer.FromString
    )
    metadata = (("authorization", login),) if login else ()
    found: M = await asyncio.to_thread(call, request, timeout=SECONDS, metadata=metadata)
    return found


async def check(serving: Serving, service: str) -> str:
    answer = await ask(
        serving, "/grpc.health.v1.Health/Check", HealthCheckRequest(service=service), HealthCheckResponse
    )
    return HealthCheckResponse.ServingStatus.Name(answer.status)


class Watch:
    """A call of Health.Watch."""

    def __init__(self, serving: Serving, service: str = "") -> None:
        call = serving.channel.unary_stream(
            "/grpc.health.v1.Health/Watch",
            request_serializer=HealthCheckRequest.SerializeToString,
            response_deserializer=HealthCheckResponse.FromString,
        )
        self._answers = call(HealthCheckRequest(service=service), timeout=SECONDS)
        self.cancel = self._answers.cancel

    async def next(self) -> str:
        """The next status. Raises grpc.RpcError at the end."""
        answer = await asyncio.to_thread(next, self._answers)
        return HealthCheckResponse.ServingStatus.Name(answer.status)


async def status(awaitable: object) -> grpc.StatusCode:
    with pytest.raises(grpc.RpcError) as caught:
        await awaitable  # type: ignore[misc]
    code: grpc.StatusCode = caught.value.code()
    return code


async def test_health_by_service() -> None:
    async with services("engine") as serving:
        assert [await check(serving, name) for name in ("", "HTTPProxy", "healthcheck.Healthcheck")] == ["SERVING"] * 3
        assert await status(check(serving, "Nobody")) is grpc.StatusCode.NOT_FOUND
        serving.server.health.end()
        assert await check(serving, "HTTPProxy") == "NOT_SERVING"


@pytest.mark.parametrize(("service", "states"), [("", ["SERVING", "NOT_SERVING"]), ("Nobody", ["SERVICE_UNKNOWN"])])
async def test_watchers_are_told_the_end(service: str, states: list[str]) -> None:
    async with services("engine") as serving:
        watch = Watch(serving, service)
        received = [await watch.next()]
        serving.server.health.end()
        while len(received) < len(states):
            received.append(await watch.next())
        assert received == states
        assert await status(watch.next()) is grpc.StatusCode.UNAVAILABLE


async def test_there_may_be_only_so_many_watchers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "MAX_WATCHERS", 1)
    async with services("engine") as serving:
        first = Watch(serving)
        await first.next()
        assert await status(Watch(serving).next()) is grpc.StatusCode.RESOURCE_EXHAUSTED
        first.cancel()


async def test_who_answers_and_since_when() -> None:
    async with services("engine") as serving:
        answer = await ask(
            serving, "/healthcheck.Healthcheck/Invoke", healthcheck_pb2.Request(), healthcheck_pb2.Response
        )
        told = json.loads(answer.data)
        assert told["app"] == "proxy-over-grpc server"
        assert float(told["uptime"].removesuffix("s")) < SECONDS


async def test_stacks_are_for_those_who_may_log_in_or_where_asked_for() -> None:
    async def stacks(login: str = "") -> str:
        return (await ask(serving, STACKS, gstacks_pb2.Request(), gstacks_pb2.Response, login)).data

    async with services("engine") as serving:
        assert await status(stacks()) is grpc.StatusCode.UNIMPLEMENTED
    async with services("engine", stacks=True) as serving:
        text = await stacks()
        assert "\ntask " in text and "\nthread MainThread" in text
    async with services("engine", auth=(parse_item(item("ilya", "pw")),)) as serving:
        assert await status(stacks()) is grpc.StatusCode.UNAUTHENTICATED
        assert "\ntask " in await stacks(basic("ilya", "pw"))
    async with services("engine", auth=(parse_item(item("ilya", "pw")),), stacks=False) as serving:
        assert await status(stacks(basic("ilya", "pw"))) is grpc.StatusCode.UNIMPLEMENTED
