"""Tests for gRPC services and clients: both ends in one process, one line to start them, nothing left at the end.

    async with grpctest.serve(Greeter()) as sc:
        reply = await GreeterStub(sc.channel).SayHello(HelloRequest(name="Ilya"))

serve       starts grpclib services over a real TCP connection, in memory, over TLS, or as pog serves them (Transport);
            serve_in_thread is the same for tests that block
Faults      what goes wrong on the way to the client: latency, resets, GOAWAY, few streams, shut windows, bare statuses
front       the same faults on the way to any other server
LeftRunning what `serve` raises when something of the services outlives it

The fixtures grpc_server and grpc_channel come with the pytest plugin, which is there once pog is installed.
"""

from pog.grpctest.faults import Faults
from pog.grpctest.front import front
from pog.grpctest.leftovers import LeftRunning
from pog.grpctest.serving import ServerFactory, Serving, serve
from pog.grpctest.threads import serve_in_thread
from pog.grpctest.transports import MissingExtra, Service, Transport

__all__ = [
    "Faults",
    "LeftRunning",
    "MissingExtra",
    "ServerFactory",
    "Service",
    "Serving",
    "Transport",
    "front",
    "serve",
    "serve_in_thread",
]
