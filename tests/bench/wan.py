"""Benchmark over distance (`make bench-wan`): raw TCP, two haproxy hops and pog over an emulated wide-area link.

The user and the client's side run in one network namespace, the server's side and the origin in another; between them
lies a link with delay, a rate and loss, made by the wan tool (--wan, or POG_BENCH_WAN). It needs root. Of two haproxy
hops one is on each side, as are pog's client and server. Each contestant starts anew for each measure.

  measures: down up on every link; warm (1 MB on a new tunnel, after other traffic) and beside (echo beside bulk) at
  150 ms without rate limit and loss. A round takes about eight minutes with three contestants.
"""

import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.bench.catalogue import Measure, on_one
from tests.bench.ground import Entrant, Ground, Side, origin_on
from tests.bench.measures import MB, Figures, beside
from tests.bench.processes import end_on_signals, raise_file_limit
from tests.bench.programs import BenchError, Programs, compile_programs
from tests.bench.report import Section
from tests.bench.results import Results
from tests.bench.rounds import About, Arena, conclude, one_round, options, pick, pick_contestants, rounds_of, say
from tests.bench.rows import Floor, Row, at_most, share
from tests.bench.shapes import H2C

WAN_VARIABLE = "POG_BENCH_WAN"
WAN_DEFAULT = "../shared/tools/wan.sh"  # relative to the repository
FAR_ADDRESS = "10.77.0.2"  # what the tool gives to the server's side


@dataclass(frozen=True, slots=True)
class Link:
    """Round trip in ms, rate in Mbit/s each way (0: unlimited), loss in percent each way."""

    rtt: int
    rate: int
    loss: int

    def words(self) -> tuple[str, ...]:
        """Options of the wan tool: its delay is one way."""
        return ("-d", f"{self.rtt / 2:g}", "-r", str(self.rate), *(("-l", str(self.loss)) if self.loss else ()))

    def __str__(self) -> str:
        return f"{self.rtt} ms, {f'{self.rate} Mbit/s' if self.rate else 'no rate limit'}, {self.loss} % loss"


LINKS = tuple(Link(rtt, rate, loss) for rtt in (50, 150) for rate in (0, 200) for loss in (0, 1))
FAR_AND_FAST = Link(150, 0, 0)


@dataclass(frozen=True, slots=True)
class Work:
    """A transfer ends after this number of bytes or seconds, whichever is first: with loss it would take minutes."""

    bulk: int
    seconds: int
    repeats: int
    beside_seconds: int


FULL = Work(400 * MB, 8, 5, 8)
QUICK = Work(20 * MB, 3, 2, 3)


def transfer(way: str, work: Work, entrant: Entrant) -> Figures:
    """One tunnel, opened before the clock starts; the time includes TCP's slow start. Up is timed by the origin."""
    answer = entrant.load(way, bytes=work.bulk, seconds=work.seconds)
    return {way: answer["bytes"] / MB / answer["seconds"]}


def warm(work: Work, entrant: Entrant) -> Figures:
    """1 MB down on a new tunnel, from the request to the last byte, right after another tunnel carried 20 MB.

    Where each tunnel is a connection of its own, it starts slowly all the same.
    """
    entrant.load("down", bytes=20 * MB, seconds=work.seconds)
    times = [entrant.load("down", bytes=MB)["seconds"] * 1000 for _ in range(work.repeats)]
    return {"warm": statistics.median(times)}


def measures_on(link: Link, work: Work) -> tuple[Measure, ...]:
    """What is measured on this link; the floors are those for links without rate limit and loss."""

    def row(key: str, title: str, digits: int, floor: Floor | None = None) -> Row:
        return Row(f"{link}: {key}", f"{link}: {title}", digits, floor)

    floor = share(0.9) if not link.rate and not link.loss else None
    both = tuple(
        Measure(way, on_one(partial(transfer, way, work), bulk=True), (row(way, f"{way}, MB/s", 1, floor),))
        for way in ("down", "up")
    )
    if link != FAR_AND_FAST:
        return both
    return (
        *both,
        Measure("warm", on_one(partial(warm, work)), (row("warm", "1 MB, warm, ms", 0, at_most(260)),)),
        Measure(
            "beside",
            on_one(partial(beside, work.beside_seconds, 3)),
            (
                row("beside.p50", "echo beside bulk p50, ms", 0),
                row("beside.p99", "echo beside bulk p99, ms", 0, at_most(250)),
                row("beside.bulk", "the bulk beside it, MB/s", 1),
            ),
        ),
    )


@contextlib.contextmanager
def ground_on(link: Link, tool: Path, programs: Programs, folder: Path) -> Iterator[Ground]:
    """Makes the two namespaces and the link, runs the origin on the far side, and takes all down again.

    Raises BenchError with the tool's own words when it cannot.
    """
    name = f"pogbench{os.getpid()}"
    env = {**os.environ, "TMPDIR": str(folder)}  # the tool keeps its state there

    def wan(verb: str, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([tool, verb, name, *words], env=env, capture_output=True, text=True, check=False)

    try:
        done = wan("up", *link.words())
        if done.returncode:
            raise BenchError(f"{tool} up failed: {(done.stdout + done.stderr).strip()}")
        near = Side((str(tool), "cli", name), "10.77.0.1")
        far = Side((str(tool), "srv", name), FAR_ADDRESS)
        with origin_on(near, far, programs, folder) as ground:
            yield ground
    finally:
        wan("down")


def find_tool(given: str | None) -> Path:
    """Raises BenchError when the emulated link cannot be had here."""
    root = Path(__file__).parents[2]
    tool = (root / (given or os.environ.get(WAN_VARIABLE) or WAN_DEFAULT)).resolve()
    if os.geteuid() != 0:
        raise BenchError("network namespaces need root: run it as root")
    if not os.access(tool, os.X_OK):
        raise BenchError(f"no wan tool at {tool}: name it with --wan or {WAN_VARIABLE}")
    if not Path("/dev/net/tun").exists():
        raise BenchError("no /dev/net/tun: this kernel has no TUN devices, of which the link is made")
    return tool


def main() -> None:
    parser = options(__doc__ or "", rounds=3)
    parser.add_argument("--wan", metavar="FILE", help=f"the wan tool ({WAN_VARIABLE}, or {WAN_DEFAULT})")
    parser.add_argument(
        "--link", metavar="TEXT", action="append", help='only links with this in the name ("150 ms"); repeatable'
    )
    given = parser.parse_args()
    work = QUICK if given.quick else FULL
    links = [link for link in LINKS if any(text in str(link) for text in given.link or [""])]
    pick(measures_on(FAR_AND_FAST, work), given.only)  # refuses a name that no link has
    tool, contestants = find_tool(given.wan), pick_contestants(given)
    results, about = Results(), About(rounds_of(given), contestants)
    able = [contestant for contestant in contestants if H2C.name in contestant.shapes]
    with tempfile.TemporaryDirectory(prefix="pog-bench-") as folder:
        programs = compile_programs(Path(folder))
        for number in range(1, about.rounds + 1):
            say(f"round {number} of {about.rounds}")
            rows: list[Row] = []
            for link in links:
                chosen = [m for m in measures_on(link, work) if given.only is None or m.name in given.only.split(",")]
                rows += [row for measure in chosen for row in measure.rows]
                with ground_on(link, tool, programs, Path(folder)) as ground:
                    arena = Arena(f"{link}: ", H2C, ground, able, [measure.name for measure in chosen])
                    one_round(number, chosen, [arena], results)
    names = [contestant.name for contestant in contestants]
    rivals = [contestant.name for contestant in contestants if contestant.rival]
    conclude(results, [Section("over distance, cleartext to the server", rows, names, rivals)], about, given.json)


if __name__ == "__main__":
    end_on_signals()
    raise_file_limit()
    try:
        main()
    except BenchError as error:
        sys.exit(str(error))
