"""What is measured: each measure puts one kind of work on a fresh contestant and returns figures by row.

The rows name the floor that the figure of pog has to reach, where there is one.
"""

import enum
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from tests.bench.ground import Entrant

MB = 1_000_000
GB = 1_000_000_000
ENDLESS = 1_000_000 * GB
# Transfers alone and beside others, in turns.
_PAIRS = 5
Figures = dict[str, float]


class Bound(enum.Enum):
    AT_LEAST = "≥"
    AT_MOST = "≤"


@dataclass(frozen=True, slots=True)
class Floor:
    """A bound for pog's figure; with `of_yardstick`, for its ratio to the yardstick's figure."""

    bound: Bound
    value: float
    of_yardstick: bool = False


def at_least(value: float) -> Floor:
    return Floor(Bound.AT_LEAST, value)


def at_most(value: float) -> Floor:
    return Floor(Bound.AT_MOST, value)


def share(value: float) -> Floor:
    return Floor(Bound.AT_LEAST, value, of_yardstick=True)


@dataclass(frozen=True, slots=True)
class Row:
    key: str
    title: str
    digits: int = 0
    floor: Floor | None = None


@dataclass(frozen=True, slots=True)
class Scale:
    """How much work: enough for a figure (FULL), or enough to see that everything runs (QUICK)."""

    bulk: int
    opens: int
    echoes: int
    beside_seconds: int
    idle: tuple[int, int]
    stopped: int
    churn: int


FULL = Scale(2 * GB, 10_000, 10_000, 5, (1_000, 5_000), GB, 50_000)
QUICK = Scale(200 * MB, 1_000, 1_000, 2, (200, 1_000), GB, 5_000)


@dataclass(frozen=True, slots=True)
class Measure:
    """`bulk`: contestants are started for long transfers (contestants.Plan)."""

    name: str
    run: Callable[[Entrant], Figures]
    rows: tuple[Row, ...]
    bulk: bool = False


def content(scale: Scale, entrant: Entrant) -> Figures:
    """16 tunnels at once, down and then up, every byte compared; and what is sent is neither short nor long."""
    failed = sum(entrant.load(way, tunnels=16, bytes=scale.bulk // 100, verify=1)["failed"] for way in ("down", "up"))
    return {"content": failed}


def transfer(way: str, scale: Scale, entrant: Entrant) -> Figures:
    """One tunnel carries scale.bulk bytes; CPU time is taken from both processes over the same bytes."""
    entrant.load(way, bytes=scale.bulk // 20)
    before = entrant.cpu()
    answer = entrant.load(way, bytes=scale.bulk)
    gigabytes = max(answer["bytes"], 1) / GB
    spent = {f"{way}.cpu.{side}": (used - before[side]) / gigabytes for side, used in entrant.cpu().items()}
    return {way: answer["bytes"] / MB / answer["seconds"], **spent}


def many(scale: Scale, entrant: Entrant) -> Figures:
    """16 tunnels share the same number of bytes down; all are open before the clock starts."""
    answer = entrant.load("down", tunnels=16, bytes=scale.bulk // 16)
    return {"down16": answer["bytes"] / MB / answer["seconds"]}


def opening(scale: Scale, entrant: Entrant) -> Figures:
    """32 users at a time: connect, CONNECT, one small GET, compare the answer, close; p50 and p99 cover all of it."""
    entrant.load("open", count=scale.opens // 10)
    answer = entrant.load("open", count=scale.opens)
    return {
        "open.rate": answer["done"] / answer["seconds"],
        "open.p50": answer["p50_us"] / 1000,
        "open.p99": answer["p99_us"] / 1000,
        "open.failed": answer["failed"],
    }


def echo(scale: Scale, entrant: Entrant) -> Figures:
    """One byte there and back, the next when it is back, on one tunnel of an otherwise idle proxy."""
    entrant.load("echo", count=scale.echoes // 10)
    answer = entrant.load("echo", count=scale.echoes)
    return {"echo.p50": answer["p50_us"], "echo.p99": answer["p99_us"]}


def beside(seconds: int, settle: int, entrant: Entrant) -> Figures:
    """The same echo while another user downloads as fast as it can, for `settle` seconds by then.

    What the download gets is shown as well: it must not starve either.
    """
    with entrant.loading("down", bytes=ENDLESS, seconds=settle + seconds) as bulk:
        time.sleep(settle)
        answer = entrant.load("echo", count=10 * MB, seconds=seconds)
        download = entrant.answer(bulk)
    return {
        "beside.p50": answer["p50_us"] / 1000,
        "beside.p99": answer["p99_us"] / 1000,
        "beside.bulk": download["bytes"] / MB / download["seconds"],
    }


def neighbours(scale: Scale, entrant: Entrant) -> Figures:
    """Four new tunnels download, by themselves and beside a reader that has stopped, a destination that takes nothing
    and a user who has broken off: what is left of their throughput, the median of pairs that take turns."""

    def download() -> float:
        answer = entrant.load("down", tunnels=4, bytes=scale.bulk // 8)
        return answer["bytes"] / answer["seconds"]

    left = []
    for _ in range(_PAIRS):
        alone = download()
        with entrant.loading("stop", bytes=scale.stopped) as reader, entrant.loading("stuff", bytes=GB) as writer:
            with entrant.loading("stop", bytes=scale.stopped) as breaker:
                for each in (reader, writer, breaker):
                    entrant.answer(each)
            left.append(download() / alone)
    return {"neighbours": statistics.median(left)}


def idle(scale: Scale, entrant: Entrant) -> Figures:
    """Tunnels that have said one command and rest: growth of each process per tunnel. Then each must echo a byte."""
    few, most = scale.idle
    figures: Figures = {}
    entrant.load("open", count=100)
    with entrant.loading("hold", count=most) as users:
        before = entrant.memory()
        for key, n, more in (("few", few, few), ("most", most, most - few)):
            entrant.order(users, f"open {more}")
            figures |= {f"idle.{key}.{side}": (now - before[side]) / n / 1024 for side, now in entrant.memory().items()}
        figures["alive"] = entrant.order(users, "check")["alive"]
    return figures


def stopped(mode: str, scale: Scale, entrant: Entrant) -> Figures:
    """One end stops and the other could go on for scale.stopped bytes: growth of both processes until it is stable.

    `stop`: a user asks for the bytes and reads 64 KiB. `stuff`: a user sends to a destination that does not read.
    """
    entrant.load("open", count=100)
    before = entrant.memory()
    with entrant.loading(mode, bytes=scale.stopped) as user:
        entrant.answer(user)
        held = sum(entrant.memory(least=3.0).values()) - sum(before.values())
    return {mode: held / MB} if before else {}


def churn(scale: Scale, entrant: Entrant) -> Figures:
    """Growth of each process over scale.churn short tunnels, after a tenth as many to warm up."""
    entrant.load("open", count=scale.churn // 10)
    before = entrant.memory()
    answer = entrant.load("open", count=scale.churn, seconds=300)
    grown = {f"churn.{side}": (now - before[side]) / MB for side, now in entrant.memory().items()}
    return grown | {"churn.failed": answer["failed"]}


def _transfer_rows(way: str) -> tuple[Row, ...]:
    return (
        Row(way, f"one tunnel {way}, MB/s", 0, share(0.6)),
        Row(f"{way}.cpu.client", f"CPU s per GB {way}, client", 2, at_most(1.0)),
        Row(f"{way}.cpu.server", f"CPU s per GB {way}, server", 2, at_most(1.0)),
    )


def measures(scale: Scale) -> tuple[Measure, ...]:
    few, most = (f"{n:,}" for n in scale.idle)
    return (
        Measure(
            "content",
            partial(content, scale),
            (Row("content", "broken transfers of 32, every byte compared", 0, at_most(0)),),
        ),
        Measure("down", partial(transfer, "down", scale), _transfer_rows("down"), bulk=True),
        Measure("up", partial(transfer, "up", scale), _transfer_rows("up"), bulk=True),
        Measure("down16", partial(many, scale), (Row("down16", "16 tunnels down, MB/s", 0, share(0.5)),), bulk=True),
        Measure(
            "open",
            partial(opening, scale),
            (
                Row("open.rate", "tunnels opened per s (+GET)", 0, at_least(2500)),
                Row("open.failed", f"of {scale.opens:,}: broken", 0, at_most(0)),
                Row("open.p50", "open + GET p50, ms", 1),
                Row("open.p99", "open + GET p99, ms", 1),
            ),
        ),
        Measure(
            "echo",
            partial(echo, scale),
            (Row("echo.p50", "echo idle p50, µs", 0, at_most(170)), Row("echo.p99", "echo idle p99, µs")),
        ),
        Measure(
            "beside",
            partial(beside, scale.beside_seconds, 1),
            (
                Row("beside.p50", "echo beside bulk p50, ms", 2, at_most(1)),
                Row("beside.p99", "echo beside bulk p99, ms", 2, at_most(8)),
                Row("beside.bulk", "the bulk beside it, MB/s"),
            ),
        ),
        Measure(
            "neighbours",
            partial(neighbours, scale),
            (Row("neighbours", "4 tunnels beside three that stick or break: of their MB/s", 2, at_least(0.9)),),
        ),
        Measure(
            "idle",
            partial(idle, scale),
            (
                Row("idle.few.client", f"idle tunnel of {few}, KiB, client", 1, at_most(16)),
                Row("idle.few.server", f"idle tunnel of {few}, KiB, server", 1, at_most(16)),
                Row("idle.most.client", f"idle tunnel of {most}, KiB, client", 1, at_most(16)),
                Row("idle.most.server", f"idle tunnel of {most}, KiB, server", 1, at_most(16)),
                Row("alive", f"of {most} tunnels at once: alive", 0, at_least(scale.idle[1])),
            ),
        ),
        Measure(
            "stop", partial(stopped, "stop", scale), (Row("stop", "reader of 1 GB stops: MB held", 1, at_most(8)),)
        ),
        Measure("stuff", partial(stopped, "stuff", scale), (Row("stuff", "destination of 1 GB stops: MB held", 1),)),
        Measure(
            "churn",
            partial(churn, scale),
            (
                Row("churn.client", f"growth over {scale.churn:,} tunnels, MB, client", 1),
                Row("churn.server", f"growth over {scale.churn:,} tunnels, MB, server", 1),
                Row("churn.failed", f"of {scale.churn:,}: broken", 0, at_most(0)),
            ),
        ),
    )
