"""The client: takes the connections of the users' programs and carries each through a tunnel.

app          wiring and lifetime
listener     accepts the users' connections, up to a limit
connections  all of these connections, and what they share
connection   one of them: a shell around a front, until the relay takes over
exits        the ways out
pages        what the client's own port shows to a browser or a Prometheus
probe        asks a server for its health and its stacks
"""
