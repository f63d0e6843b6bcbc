"""The work of the measures: each puts one kind on a fresh contestant and returns figures by row key."""

import statistics
import time
from dataclasses import dataclass

from tests.bench.ground import Entrant

MB = 1_000_000
GB = 1_000_000_000
ENDLESS = 1_000_000 * GB
# Transfers alone and beside others, in turns.
_PAIRS = 5
Figures = dict[str, float]


@dataclass(frozen=True, slots=True)
class Scale:
    """How much work: enough for a figure (FULL), or for a first look and for a machine with other work (QUICK).

    A transfer ends after `bulk` bytes or `seconds`, whichever is first.
    """

    bulk: int
    seconds: int
    opens: int
    echoes: int
    beside_seconds: int
    idle: tuple[int, int]
    stopped: int
    churn: int
    counted: int


FULL = Scale(2 * GB, 30, 10_000, 10_000, 5, (1_000, 5_000), GB, 50_000, 1_000)
QUICK = Scale(200 * MB, 3, 1_000, 1_000, 2, (200, 1_000), GB, 5_000, 250)


def content(scale: Scale, entrant: Entrant) -> Figures:
    """16 tunnels at once, down and then up, every byte compared; and what is sent is neither short nor long."""
    failed = sum(entrant.load(way, tunnels=16, bytes=scale.bulk // 100, verify=1)["failed"] for way in ("down", "up"))
    return {"content": failed}


def transfer(way: str, scale: Scale, entrant: Entrant) -> Figures:
    """One tunnel carries scale.bulk bytes; CPU time is taken from every process over the same bytes."""
    entrant.load(way, bytes=scale.bulk // 20, seconds=scale.seconds)
    before = entrant.cpu()
    answer = entrant.load(way, bytes=scale.bulk, seconds=scale.seconds)
    gigabytes = max(answer["bytes"], 1) / GB
    spent = {f"{way}.cpu.{side}": used / gigabytes for side, used in entrant.cpu_since(before).items()}
    return {way: answer["bytes"] / MB / answer["seconds"], **spent}


def many(scale: Scale, entrant: Entrant) -> Figures:
    """16 tunnels share the same number of bytes down; all are open before the clock starts."""
    answer = entrant.load("down", tunnels=16, bytes=scale.bulk // 16, seconds=scale.seconds)
    return {"down16": answer["bytes"] / MB / answer["seconds"]}


def opening(scale: Scale, entrant: Entrant) -> Figures:
    """32 users at a time: connect, CONNECT, one small GET, compare the answer, close; p50 and p99 cover all of it.

    CPU time is in microseconds a tunnel.
    """
    entrant.load("open", count=scale.opens // 10)
    before = entrant.cpu()
    answer = entrant.load("open", count=scale.opens)
    tunnels = max(answer["done"], 1)
    spent = {f"open.cpu.{side}": used / tunnels * 1e6 for side, used in entrant.cpu_since(before).items()}
    return {
        **spent,
        "open.rate": answer["done"] / answer["seconds"],
        "open.p50": answer["p50_us"] / 1000,
        "open.p99": answer["p99_us"] / 1000,
        "open.failed": answer["failed"],
    }


def plain(scale: Scale, entrant: Entrant) -> Figures:
    """Plain HTTP beside CONNECT, in turns: 32 users on keep-alive with small GETs, and one large answer.

    The ratios are taken within a pair, so that the machine's mood hits both; CPU time is in microseconds a GET.
    """
    rates, shares, figures = [], [], dict[str, float]()
    entrant.load("get", count=scale.opens // 10)
    for _ in range(_PAIRS):
        opened = entrant.load("open", count=scale.opens // 2)
        before = entrant.cpu()
        got = entrant.load("get", count=scale.opens)
        spent = {f"plain.cpu.{side}": used / scale.opens * 1e6 for side, used in entrant.cpu_since(before).items()}
        rates.append(got["done"] / got["seconds"] / (opened["done"] / opened["seconds"]))
        tunnel = entrant.load("down", bytes=scale.bulk // 2, seconds=scale.seconds)
        large = entrant.load("fetch", bytes=scale.bulk // 2, seconds=scale.seconds)
        shares.append(large["bytes"] / large["seconds"] / (tunnel["bytes"] / tunnel["seconds"]))
        figures |= spent | {
            "plain.rate": got["done"] / got["seconds"],
            "plain.down": large["bytes"] / MB / large["seconds"],
            "plain.failed": figures.get("plain.failed", 0) + got["failed"] + large["failed"],
        }
    return figures | {"plain.per_open": statistics.median(rates), "plain.share": statistics.median(shares)}


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
