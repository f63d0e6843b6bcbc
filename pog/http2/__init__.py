"""One HTTP/2 connection, the same code for both roles.

session     the asyncio shell: reads, writes, keepalive, drain; holds the streams
stream      one stream, for calls (coroutines) and for payload (callbacks)
connection  the protocol without I/O: events in one direction, orders in the other
inbound     its receiving half: frames, and the lane of DATA and WINDOW_UPDATE
machine     h2's state machines, with what does not scale taken out
scheduler   which stream sends next
deadlines   streams that have to be over soon
windows     how much may be received, per stream, connection and process
hpack       header blocks, remembered
abuse_limits  limits on what costs us and carries nothing
"""
