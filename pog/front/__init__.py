"""What the user's program speaks: bytes in, outcomes out. No socket, no await, no clock. [pure]

base     what every front has in common: outcomes, orders, and the interface of an exchange
sniff    which front a connection gets, by its first bytes
http1    HTTP/1: CONNECT and our own pages
socks5   SOCKS 5, with or without user name and password
socks4   SOCKS 4 and 4A
"""
