"""One tunnel: the words for it, the transports of its payload, and what joins it to a socket.

request     TunnelRequest, Tunnel, User: what stands between fronts and exits
live        the one registry of tunnels
relay       joins a local socket and a tunnel: two one-way pumps with back pressure and half-close
ended       how a relay ended, as data
silence     ends what has been silent for too long
lane        a tunnel's payload over our HTTP/2, cut through
messages    the same over any gRPC stream, a protobuf message per chunk
payload     chooses between the two on a server
abilities   what a program can beyond the original's protocol
"""
