"""Who may pass.

check    Basic credentials against auth items: bcrypt off the loop, successes remembered
tokens   ID tokens for servers behind Google's IAM
reload   reads files of auth items again at SIGHUP
"""
