"""What the user's program speaks: bytes in, outcomes out. No socket, no await, no clock. [pure]

base     what every front has in common: outcomes, orders, and the interface of an exchange
sniff    which front a connection gets, by its first bytes
http1    HTTP/1: CONNECT, plain http:// and our own pages
forward  a plain http:// request and its answer, rewritten on the way
answer   the answer
hop      what concerns one connection only, parted from what passes on
bodies   where contents end
heads    heads, read strictly
socks5   SOCKS 5, with or without user name and password
socks4   SOCKS 4 and 4A
"""
