"""Shared by the tests: programs as processes, destinations, a user's side of the proxy, and a look into processes."""
