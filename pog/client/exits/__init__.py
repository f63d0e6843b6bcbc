"""The ways out of a client: each takes a TunnelRequest and gives a Tunnel or a Failure.

base      what every exit is
kinds     the table of all kinds
routed    a choice among several: rules, failover
router    which of them, in which order, and why [pure]
spread    all replicas behind one name, each an exit of its own
retry     a transport whose first bytes go again through the next exit
direct    this machine: dials the destination from here
reject    refuses everything
grpc      one pog server: tunnels through it, and its pages
attempt   one tunnel on its way through it: the gRPC call until the server's answer
pool      the connections to it: carries out what picker and redial decide
picker    which connection gets the next tunnel, and how many there should be [pure]
redial    when to dial again [pure]
connect   opens one of them: addresses, TLS, SETTINGS
tls       what TLS with a server needs
unary     one call with one message each way
credentials  whether the server accepts ours, tried at each new connection
headers   the header fields of what is asked [pure]
"""
