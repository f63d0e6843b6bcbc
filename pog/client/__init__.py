"""The client: takes the connections of the users' programs and carries each through a tunnel.

app          wiring and lifetime
endpoints    opens what the client listens on
handshakes   TLS with users, in limits
listener     accepts the users' connections, up to a limit
connections  all of these connections, and what they share
connection   one of them: a shell around a front, until the relay takes over
exchanges    plain HTTP on such a connection: one request after another
upstream     the tunnel of one exchange, as the relay sees the user's end
kept         tunnels that wait for the next request
opening      one tunnel on its way: credentials, room, exit
exits        the ways out
pages        what the client's own port shows to a browser or a Prometheus
own_host     who is shown a page: by the Host field [pure]
pac          the file that sets up a browser [pure]
probe        asks a server for its health and its stacks
readiness    asks a client whether it can open tunnels
stdio        one tunnel joined to standard input and output
"""
