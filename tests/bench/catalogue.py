"""The measures by name, with the rows of their figures and the floors of pog."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from tests.bench.ground import Enter, Entrant
from tests.bench.instructions import instructions
from tests.bench.measures import (
    Figures,
    Scale,
    beside,
    churn,
    content,
    echo,
    idle,
    many,
    neighbours,
    opening,
    plain,
    stopped,
    transfer,
)
from tests.bench.rows import Row, at_least, at_most, share


@dataclass(frozen=True, slots=True)
class Measure:
    """`take` starts the contestant whose turn it is, as often as it needs, and gives the figures for `rows`.

    Only a `usual` measure is taken when none is named.
    """

    name: str
    take: Callable[[Enter], Figures]
    rows: tuple[Row, ...]
    usual: bool = True


def on_one(run: Callable[[Entrant], Figures], *, bulk: bool = False) -> Callable[[Enter], Figures]:
    """A measure for which the contestant is started once, for long transfers with `bulk` (contestants.Plan)."""

    def take(enter: Enter) -> Figures:
        with enter(bulk=bulk) as entrant:
            return run(entrant)

    return take


def _transfer_rows(way: str) -> tuple[Row, ...]:
    return (
        Row(way, f"one tunnel {way}, MB/s", 0, share(0.6)),
        Row(f"{way}.cpu.client", f"CPU s per GB {way}, client", 2, at_most(1.0)),
        Row(f"{way}.cpu.server", f"CPU s per GB {way}, server", 2, at_most(1.0)),
        Row(f"{way}.cpu.front", f"CPU s per GB {way}, front", 2),
    )


def measures(scale: Scale) -> tuple[Measure, ...]:
    few, most = (f"{n:,}" for n in scale.idle)
    return (
        Measure(
            "content",
            on_one(partial(content, scale)),
            (Row("content", "broken transfers of 32, every byte compared", 0, at_most(0)),),
        ),
        Measure("down", on_one(partial(transfer, "down", scale), bulk=True), _transfer_rows("down")),
        Measure("up", on_one(partial(transfer, "up", scale), bulk=True), _transfer_rows("up")),
        Measure(
            "down16",
            on_one(partial(many, scale), bulk=True),
            (Row("down16", "16 tunnels down, MB/s", 0, share(0.5)),),
        ),
        Measure(
            "open",
            on_one(partial(opening, scale)),
            (
                Row("open.rate", "tunnels opened per s (+GET)", 0, at_least(2500)),
                Row("open.failed", f"of {scale.opens:,}: broken", 0, at_most(0)),
                Row("open.p50", "open + GET p50, ms", 1),
                Row("open.p99", "open + GET p99, ms", 1),
                Row("open.cpu.client", "CPU µs per tunnel, client"),
                Row("open.cpu.server", "CPU µs per tunnel, server"),
                Row("open.cpu.front", "CPU µs per tunnel, front"),
            ),
        ),
        Measure(
            "plain",
            on_one(partial(plain, scale)),
            (
                Row("plain.rate", "GETs per s on keep-alive, plain HTTP"),
                Row("plain.per_open", "of the tunnels opened per s", 2, at_least(1.5)),
                Row("plain.down", "one large answer, plain HTTP, MB/s"),
                Row("plain.share", "of a tunnel's MB/s", 2, at_least(0.5)),
                Row("plain.failed", "broken", 0, at_most(0)),
                Row("plain.cpu.client", "CPU µs per GET, client"),
                Row("plain.cpu.server", "CPU µs per GET, server"),
            ),
        ),
        Measure(
            "echo",
            on_one(partial(echo, scale)),
            (Row("echo.p50", "echo idle p50, µs", 0, at_most(170)), Row("echo.p99", "echo idle p99, µs")),
        ),
        Measure(
            "beside",
            on_one(partial(beside, scale.beside_seconds, 1)),
            (
                Row("beside.p50", "echo beside bulk p50, ms", 2, at_most(1)),
                Row("beside.p99", "echo beside bulk p99, ms", 2, at_most(8)),
                Row("beside.bulk", "the bulk beside it, MB/s"),
            ),
        ),
        Measure(
            "neighbours",
            on_one(partial(neighbours, scale)),
            (Row("neighbours", "4 tunnels beside three that stick or break: of their MB/s", 2, at_least(0.9)),),
        ),
        Measure(
            "idle",
            on_one(partial(idle, scale)),
            (
                Row("idle.few.client", f"idle tunnel of {few}, KiB, client", 1, at_most(16)),
                Row("idle.few.server", f"idle tunnel of {few}, KiB, server", 1, at_most(16)),
                Row("idle.most.client", f"idle tunnel of {most}, KiB, client", 1, at_most(16)),
                Row("idle.most.server", f"idle tunnel of {most}, KiB, server", 1, at_most(16)),
                Row("alive", f"of {most} tunnels at once: alive", 0, at_least(scale.idle[1])),
            ),
        ),
        Measure(
            "stop",
            on_one(partial(stopped, "stop", scale)),
            (Row("stop", "reader of 1 GB stops: MB held", 1, at_most(8)),),
        ),
        Measure(
            "stuff", on_one(partial(stopped, "stuff", scale)), (Row("stuff", "destination of 1 GB stops: MB held", 1),)
        ),
        Measure(
            "churn",
            on_one(partial(churn, scale)),
            (
                Row("churn.client", f"growth over {scale.churn:,} tunnels, MB, client", 1),
                Row("churn.server", f"growth over {scale.churn:,} tunnels, MB, server", 1),
                Row("churn.failed", f"of {scale.churn:,}: broken", 0, at_most(0)),
            ),
        ),
        Measure(
            "instructions",
            partial(instructions, scale),
            (
                Row("instructions.client", "1,000 instructions a tunnel, client", 1),
                Row("instructions.server", "1,000 instructions a tunnel, server", 1),
            ),
            usual=False,
        ),
    )
