"""The shapes in which pog is deployed: what stands between the client's side and the server's.

  h2c   nothing: cleartext to the server
  tls   TLS, ended right before the server by haproxy in TCP mode: the server sees the client's own HTTP/2
  hop   TLS and an HTTP/2 proxy, haproxy in HTTP mode with HTTP/2 on both sides, as Google's front end before Cloud Run:
        streams, frames and windows are the hop's, on both sides

The front has one thread and stands on the server's side. A further kind of front is one more entry of shapes().
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from tests.bench.contestants import Plan
from tests.bench.processes import Command

# What is measured in every shape. The rest (memory, many tunnels at once) is measured in h2c; elsewhere with --only.
ESSENTIAL = ("content", "down", "up", "open", "echo", "beside")


@dataclass(frozen=True, slots=True)
class Tuning:
    """What an HTTP/2 hop allows its peers, in bytes: unread bytes of a stream, and its buffer, which bounds its frames.

    haproxy 2.6 has one window for both sides (tune.h2.initial-window-size). The defaults: with 1 MiB a stream is not
    held back on loopback; 16 KiB is haproxy's own buffer.
    """

    window: int = 1 << 20
    buffer: int = 1 << 14


@dataclass(frozen=True, slots=True)
class Shape:
    """`front` starts what stands before the server; without it the client's side connects to the server itself.

    Without `measures` every measure is taken by default.
    """

    name: str
    title: str
    front: Callable[[Plan], Command] | None = None
    needs: tuple[str, ...] = ()
    measures: tuple[str, ...] | None = None

    def why_not(self) -> str | None:
        """Why it cannot be had here, or None."""
        missing = [program for program in self.needs if shutil.which(program) is None]
        return f"not on PATH: {', '.join(missing)}" if missing else None


H2C = Shape("h2c", "cleartext to the server")


def shapes(tuning: Tuning) -> tuple[Shape, ...]:
    return (
        H2C,
        Shape("tls", "TLS ended in front of the server (haproxy, TCP mode)", terminator, ("haproxy",), ESSENTIAL),
        Shape(
            "hop", "TLS and an HTTP/2 hop (haproxy, HTTP mode)", partial(hop, tuning=tuning), ("haproxy",), ESSENTIAL
        ),
    )


def terminator(plan: Plan) -> Command:
    """Ends TLS and passes on what is inside."""
    return _haproxy(plan, mode="tcp", globally="", server="")


def hop(plan: Plan, tuning: Tuning) -> Command:
    """Ends TLS, and speaks HTTP/2 with each side for itself: by prior knowledge with the server."""
    tuned = f"  tune.h2.initial-window-size {tuning.window}\n  tune.bufsize {tuning.buffer}\n"
    return _haproxy(plan, mode="http", globally=tuned, server=" proto h2")


def _haproxy(plan: Plan, *, mode: str, globally: str, server: str) -> Command:
    assert plan.tls
    config = plan.folder / f"front-{plan.entry.replace(':', '-')}.cfg"
    config.write_text(
        f"global\n  nbthread 1\n  maxconn 6000\n{globally}"
        f"defaults\n  mode {mode}\n  timeout connect 10s\n  timeout client 1h\n  timeout server 1h\n"
        f"listen front\n  bind {plan.entry} ssl crt {plan.tls.bundle} alpn h2\n  server pog {plan.server}{server}\n"
    )
    return Command(("haproxy", "-db", "-f", str(config)), {})
