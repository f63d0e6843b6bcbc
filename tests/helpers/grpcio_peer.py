"""grpcio's own clients of health and reflection, as a program: in one process with grpclib's messages they clash.

    python -m tests.helpers.grpcio_peer check HOST:PORT SERVICE [USER:PASSWORD]    prints the status
    python -m tests.helpers.grpcio_peer watch HOST:PORT SERVICE [USER:PASSWORD]    prints each status as it comes
    python -m tests.helpers.grpcio_peer list  HOST:PORT VERSION [USER:PASSWORD]    prints services, by reflection
    python -m tests.helpers.grpcio_peer file  HOST:PORT SYMBOL  [USER:PASSWORD]    prints the file that has it
    python -m tests.helpers.grpcio_peer call  HOST:PORT METHOD  [USER:PASSWORD]    calls it with nothing but reflection

A call that fails prints `error CODE`.
"""

from __future__ import annotations

import sys
from typing import Any

import grpc
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from tests.helpers import rpc
from tests.helpers.user import basic

Metadata = tuple[tuple[str, str], ...]


def check(channel: grpc.Channel, service: str, metadata: Metadata) -> None:
    request = health_pb2.HealthCheckRequest(service=service)
    answer = health_pb2_grpc.HealthStub(channel).Check(request, timeout=rpc.SECONDS, metadata=metadata)
    say(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))


def watch(channel: grpc.Channel, service: str, metadata: Metadata) -> None:
    request = health_pb2.HealthCheckRequest(service=service)
    for answer in health_pb2_grpc.HealthStub(channel).Watch(request, metadata=metadata):
        say(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))


def list_services(channel: grpc.Channel, version: str, metadata: Metadata) -> None:
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    for service in reflect(channel, version, request, metadata).list_services_response.service:
        say(service.name)


def file_of(channel: grpc.Channel, symbol: str, metadata: Metadata) -> None:
    request = reflection_pb2.ServerReflectionRequest(file_containing_symbol=symbol)
    found = reflect(channel, "v1", request, metadata)
    for file in found.file_descriptor_response.file_descriptor_proto:
        say(FileDescriptorProto.FromString(file).name)
    if found.HasField("error_response"):
        say(found.error_response.error_message)


def reflect(channel: grpc.Channel, version: str, request: Any, metadata: Metadata) -> Any:
    """The messages of v1alpha and v1 are the same on the wire."""
    call = channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    return next(call(iter([request]), timeout=rpc.SECONDS, metadata=metadata))


def call(channel: grpc.Channel, method: str, metadata: Metadata) -> None:
    service, _, name = method.partition("/")
    intercepted = grpc.intercept_channel(channel, _Adding(metadata))
    pool: Any = DescriptorPool(ProtoReflectionDescriptorDatabase(intercepted))
    found = pool.FindServiceByName(service).methods_by_name[name]
    take, give = GetMessageClass(found.input_type), GetMessageClass(found.output_type)
    invoke = channel.unary_unary(
        f"/{method}", request_serializer=take.SerializeToString, response_deserializer=give.FromString
    )
    say(str(invoke(take(), timeout=rpc.SECONDS, metadata=metadata)).rstrip())


class _Adding(grpc.StreamStreamClientInterceptor):  # type: ignore[misc]  # grpcio has no types
    """Adds metadata to a call that takes none."""

    def __init__(self, metadata: Metadata) -> None:
        self._metadata = metadata

    def intercept_stream_stream(self, continuation: Any, details: Any, requests: Any) -> Any:
        return continuation(details._replace(metadata=self._metadata), requests)


def say(line: str) -> None:
    print(line, flush=True)


COMMANDS = {"check": check, "watch": watch, "list": list_services, "file": file_of, "call": call}


def main(command: str, host_port: str, what: str, login: str = "") -> None:
    metadata = (("authorization", basic(*login.split(":"))),) if login else ()
    with rpc.channel(host_port) as channel:
        try:
            COMMANDS[command](channel, what, metadata)
        except grpc.RpcError as error:
            say(f"error {error.code().name}")


if __name__ == "__main__":
    main(*sys.argv[1:])
