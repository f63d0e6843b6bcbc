"""The server. `pog.server:app` is the ASGI app for `hypercorn pog.server:app` and its like.

Importing it puts our HTTP/2 into Hypercorn (engine.py), so that the `hypercorn` command has it too.
"""

from pog.server.app import app
from pog.server.engine import install

__all__ = ["app"]

install()
