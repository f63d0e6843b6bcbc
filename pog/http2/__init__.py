"""One HTTP/2 connection, the same code for both roles.

With I/O, from the transport inwards:

session         the asyncio shell of a connection: reads, and its end
  drain           the orderly end: GOAWAY, and the last stream closes the connection
  liveness        checks from time to time: probes of the peer, the round trip (keepalive: the rules)
  writer          when output is written
  streams         the table of open streams, and what the peer does on them
    stream          one of them, for calls: coroutines, with the surface that grpclib expects
      flow            the same stream for payload: callbacks (consumer: who takes them)
    endpoint        what all streams of a connection share
    deadlines       streams that have to be over soon

Without I/O [pure]:

connection      bytes in, events out; orders in, bytes out
  inbound         the receiving half: bytes to frames, and DATA
    control         the frames that are not DATA (header_blocks: HEADERS and CONTINUATION)
    abuse_limits    limits on what costs work and carries nothing
  outbound        the sending half: header blocks, and DATA (scheduler: whose turn it is; stalls: waits for windows)
  machine         h2's state machines of connection and streams (machine_stream), with what does not scale taken out
    hpack           header compression that remembers whole blocks
    fields          which fields a message may have
  windows         how much may be received: by a stream, a connection, the process
  receive_buffer  content that waits for its reader
  frames, events, errors, stats, config: the vocabulary
"""
