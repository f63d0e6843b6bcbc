"""Who may pass.

check     Basic credentials against auth items: bcrypt off the loop, successes remembered
refusals  why logins were refused, in the log and bounded
expiry    warns before items expire, and when all have
reload    reads files of auth items again at SIGHUP
tokens    ID tokens for servers behind Google's IAM
"""
