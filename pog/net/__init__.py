"""Sockets as both programs use them: connections out to destinations and servers, and the listening ones.

address    host:port, as people and protocols write it [pure]
resolve    names to addresses, with a thread for each lookup: a name that never resolves costs only itself
egress     which addresses may be dialled [pure]
connect    a socket to the first of several addresses that answers (Happy Eyeballs)
dial       all of these for the destination of a tunnel, and exactly what failed
keepalive  TCP keepalive, for connections in both directions
listen     the listening sockets that one setting asks for
unix       listening on a Unix domain socket
inherited  listening sockets that systemd hands over
certificate  what a listening socket presents in TLS
renewal      reads it again when its files change, and warns before it ends
pins         the fingerprint of its key

Nothing here knows settings, HTTP or gRPC: policies, limits and addresses are arguments.
"""
