"""Proxy over gRPC.

    user's program -- HTTP proxy / SOCKS --> pog client == gRPC over HTTP/2 ==> pog server -- TCP --> destination

cli      the commands                              errors    exceptions, and the one table of failures
client   listens for programs; exits are its ways out   server    the ASGI app: gRPC services and pages on one port
front    what the user's program speaks            observe   logs and metrics
tunnel   the words, the relay, the payload         auth      who may pass
http2    one HTTP/2 connection, for both roles     config    settings; net: sockets and names; process: the system
wire     packets in gRPC messages, as bytes        grpctest  for tests of gRPC services, anybody's

docs/architecture.md explains them. Imports point down: proto, errors, wire, process, net, config, http2, tunnel, auth,
front, observe, client | server, cli | grpctest.
"""

__version__ = "0.1.0"
