"""Who may pass.

check    Basic credentials against auth items: bcrypt off the loop, successes remembered
reload   reads files of auth items again at SIGHUP
"""
