"""Services on a loop in another thread, for clients that block."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import grpc
import pytest
from google.protobuf.wrappers_pb2 import StringValue

from pog.grpctest import Faults, LeftRunning, Transport, serve_in_thread, serving
from pog.grpctest.sockets import Sockets
from tests.grpctest.services import Echo
from tests.grpctest.test_serving import SOCKETS, Busy

if TYPE_CHECKING:
    from pog.grpctest import Serving


def say(sc: Serving, text: str) -> str:
    credentials = grpc.ssl_channel_credentials(sc.ca_pem) if sc.ca_pem else grpc.local_channel_credentials()
    options = [("grpc.use_local_subchannel_pool", 1)]
    with grpc.secure_channel(str(sc.address), credentials, options) as channel:
        once = channel.unary_unary("/test.Echo/Once", StringValue.SerializeToString, StringValue.FromString)
        answer: StringValue = once(StringValue(value=text), timeout=10)
        return answer.value


@SOCKETS
def test_a_blocking_client(transport: Transport) -> None:
    sockets, threads = Sockets(), threading.active_count()
    with serve_in_thread(Echo(), transport=transport) as sc:
        assert say(sc, "hello") == "hello"
    assert threading.active_count() <= threads + 1  # grpcio may keep one of its own
    assert sockets.left() == []


def test_faults_from_another_thread() -> None:
    faults = Faults()
    with serve_in_thread(Echo(), faults=faults) as sc, grpc.insecure_channel(str(sc.address)) as channel:
        talk = channel.stream_stream("/test.Echo/Talk", StringValue.SerializeToString, StringValue.FromString)
        gate = threading.Event()

        def words() -> object:
            yield StringValue(value="one")
            gate.wait(10)

        call = talk(words(), timeout=10)
        assert next(call).value == "one"
        faults.reset()
        with pytest.raises(grpc.RpcError) as caught:
            next(call)
        gate.set()
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert faults.connections == 1


def test_what_is_left_is_raised_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "END", 0.2)
    with pytest.raises(LeftRunning, match="task forgotten"):
        with serve_in_thread(Busy()) as sc:
            say(sc, "hello")


def test_a_start_that_fails() -> None:
    with serve_in_thread(Echo()) as sc:
        with pytest.raises(OSError, match="in use"):
            with serve_in_thread(Echo(), port=sc.address.port):
                pass
    with pytest.raises(ValueError, match="memory"):
        with serve_in_thread(Echo(), transport="memory"):
            pass


def test_the_tests_own_failure_passes() -> None:
    with pytest.raises(ZeroDivisionError):
        with serve_in_thread(Echo()):
            _ = 1 / 0


async def test_it_may_be_used_beside_a_running_loop() -> None:
    with serve_in_thread(Echo()) as sc:
        assert await asyncio.to_thread(say, sc, "hello") == "hello"
