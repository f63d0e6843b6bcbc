"""The client: takes the connections of the user's programs and carries each through one tunnel to the server.

app        wiring and lifetime
listener   accepts the users' connections
handler    one user's connection, from its first byte until the relay takes over
exit       one server as the client sees it: how to connect to it and how to open a tunnel through it
pool       the connections to one exit: how many, which one next, when to dial again
call       the gRPC handshake of one tunnel
pages      what the client's own port shows to a browser or a Prometheus
"""
