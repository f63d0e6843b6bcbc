"""The server. `pog.server:app` is the ASGI app for `hypercorn pog.server:app` and its like."""

from pog.server.app import app

__all__ = ["app"]
