"""Proxy over gRPC.

    user's program -- HTTP proxy / SOCKS --> pog client == gRPC over HTTP/2 ==> pog server -- TCP --> destination

cli        commands: up, server, client, health, stacks, auth
settings   frozen settings, from defaults, environment and flags
server     the ASGI app: gRPC services (proxy, health check, stacks) and pages on one port
client     listens for the user's programs, opens one tunnel per connection
front      what the user's program speaks, as pure parsers
relay      joins a socket and a tunnel: two one-way pumps with back pressure and half-close
tunnel     the payload of one gRPC call as an asyncio transport
http2      one HTTP/2 connection, the same code on both sides
wire       packets in gRPC messages, as bytes
metrics    what Prometheus reads; accesslog writes one record per tunnel; docs/operations.md explains both
grpctest   for tests of gRPC services, this package's and anybody's; pytest_plugin brings its fixtures
"""

__version__ = "0.1.0"
