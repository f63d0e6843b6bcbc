"""What a process needs of its system.

run      runs a program on the event loop until a signal ends it
child    another program in the place of this one
stdio    standard streams that may be closed
output   writes to them without waiting for who reads
memory   settings of the allocator
sighup   what is read again at SIGHUP
timers   the event loop's timers, for those who need one per tunnel
"""
