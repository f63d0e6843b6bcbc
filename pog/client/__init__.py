"""The client: takes the connections of the users' programs and carries each through one tunnel to the server.

app        wiring and lifetime
listener   accepts the users' connections, up to a limit
users      all of these connections, and what they share
handler    one of them, from its first byte until the relay takes over
exit       one server as the client sees it: tunnels through it, and its pages
opening    one tunnel on its way: which connection, and once more when nothing came back
call       the gRPC call of a tunnel until the server's answer
pool       the connections to one exit: runs what picker (which one next, how many) and redial (when) decide
connect    opens one of them: addresses, TLS (tls), SETTINGS
pages      what the client's own port shows to a browser or a Prometheus
probe      asks a server for its health and its stacks
"""
