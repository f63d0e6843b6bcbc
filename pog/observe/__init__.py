"""What people and machines can observe: metrics, the access log and messages, declared once.

tunnels      what happens to a tunnel, passed on to the registry, the metrics and the access log
accesslog    one record for each tunnel
messages     the programs' messages, on standard error
jsonlog      both as JSON
metrics      every metric
rpcs         those of gRPC calls, by the Go original's names
counters     counts that cost little where they are made
collectors   what is read off only when a page is asked for
exposition   pages of metrics merged into one
endings      who ended a tunnel, in the words of each program
"""
