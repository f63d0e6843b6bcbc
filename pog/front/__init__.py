"""What the user's program speaks: bytes in, outcomes out. No socket, no await, no clock. [pure]

base     what every front has in common: outcomes, orders, and the interface of an exchange
http1    HTTP/1: CONNECT and our own pages
"""
