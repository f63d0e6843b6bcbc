"""Where a contestant runs: an origin, a user's side and a server's side, joined by loopback or by an emulated link."""

import contextlib
import json
import random
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypedDict

from tests.bench.certificate import Certificate, issue
from tests.bench.contestants import Contestant, Plan
from tests.bench.processes import Command, cpu_seconds, read_line, running, settled_bytes, tail
from tests.bench.programs import BenchError, Programs
from tests.bench.shapes import Shape

if TYPE_CHECKING:
    from subprocess import Popen

START_PATIENCE = 20  # seconds until a tunnel through a fresh contestant must work
END_PATIENCE = 3  # seconds until it must have ended
WATCHED_PATIENCE = 120  # for both, when a program runs under another one that watches it
PORTS = range(20000, 32000)  # below the ephemeral ports of Linux: no outgoing connection takes one in between


class StartError(BenchError):
    """A contestant does not work; the text ends with what it said."""


class Answer(TypedDict, total=False):
    """A line of the load generator; which keys there are depends on the mode."""

    bytes: int
    seconds: float
    done: int
    p50_us: float
    p99_us: float
    open: int
    alive: int
    failed: int
    problems: dict[str, int]


@dataclass(frozen=True, slots=True)
class Side:
    """`prefix` runs a command on this side; `address` is where the other side reaches it."""

    prefix: tuple[str, ...]
    address: str


@dataclass(frozen=True, slots=True)
class Ground:
    """`certificate` is what fronts speak TLS with."""

    near: Side
    far: Side
    programs: Programs
    folder: Path
    origin_port: int
    certificate: Certificate


LOOPBACK = Side((), "127.0.0.1")


def free_port() -> int:
    """A port on which nothing listens here; in a network namespace of one's own any port will do."""
    while True:
        port = random.choice(PORTS)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind(("", port))
                return port


@contextlib.contextmanager
def origin_on(near: Side, far: Side, programs: Programs, folder: Path) -> Iterator[Ground]:
    """Runs the origin on the far side for the time of the block."""
    ground = Ground(near, far, programs, folder, free_port(), issue(folder))
    listen = "127.0.0.1" if far is LOOPBACK else "0.0.0.0"
    command = Command((*far.prefix, str(programs.origin), f"{listen}:{ground.origin_port}"), {})
    with running(command, folder / "origin.log", pipes=True) as process:
        read_line(process, f"the origin ({tail(folder / 'origin.log')})")
        yield ground


@dataclass(slots=True)
class Entrant:
    """A contestant that runs: load is put on it from the near side, its processes can be watched.

    `sides` are those that it has of "server", "front" and "client".
    """

    contestant: Contestant
    ground: Ground
    via: str
    target: str | None
    sides: "Mapping[str, Popen[str]]"
    problems: dict[str, int] = field(default_factory=dict)

    def load(self, mode: str, **options: int) -> Answer:
        """Runs the load generator to its end."""
        with self.loading(mode, **options) as process:
            return self.answer(process)

    @contextlib.contextmanager
    def loading(self, mode: str, **options: int) -> "Iterator[Popen[str]]":
        """Runs the load generator beside the block: answers are read and orders given by answer() and order()."""
        words = [f"via={self.via}", *([f"target={self.target}"] if self.target else [])]
        words += [f"{key}={value}" for key, value in options.items()]
        argv = (*self.ground.near.prefix, str(self.ground.programs.load), mode, *words)
        with running(Command(argv, {}), self.ground.folder / "load.log", pipes=True) as process:
            yield process

    def answer(self, process: "Popen[str]") -> Answer:
        line = read_line(process, f"the load generator ({tail(self.ground.folder / 'load.log')})")
        result: Answer = json.loads(line)
        for text, count in result.get("problems", {}).items():
            self.problems[text] = max(self.problems.get(text, 0), count)
        return result

    def order(self, process: "Popen[str]", line: str) -> Answer:
        assert process.stdin is not None
        process.stdin.write(line + "\n")
        process.stdin.flush()
        return self.answer(process)

    def await_tunnel(self, logs: Mapping[str, Path], patience: float) -> None:
        """Waits until a tunnel echoes a byte; raises StartError when a side ends, or after `patience` seconds."""
        deadline = time.monotonic() + patience
        while not self.load("wait", seconds=2)["alive"]:
            ended = [side for side, process in self.sides.items() if process.poll() is not None]
            if ended or time.monotonic() > deadline:
                why = f"{' and '.join(ended)} ended" if ended else f"no tunnel within {patience} s"
                said = "".join(f"\n{side}: {text}" for side, log in logs.items() if (text := tail(log)))
                raise StartError(f"{why}: {self.problems}{said}\n")
        self.problems.clear()

    def cpu(self) -> dict[str, float]:
        """CPU seconds so far, by side."""
        return {side: cpu_seconds(process.pid) for side, process in self.sides.items()}

    def cpu_since(self, before: Mapping[str, float]) -> dict[str, float]:
        """CPU seconds since `before`, which cpu() gave."""
        return {side: used - before[side] for side, used in self.cpu().items()}

    def memory(self, least: float = 1.5) -> dict[str, int]:
        """Resident bytes of client and server, once they have stopped growing. The front's are not the contestant's."""
        own = {side: process for side, process in self.sides.items() if side != "front"}
        return {side: settled_bytes([process.pid], least=least) for side, process in own.items()}


class Enter(Protocol):
    """Starts one contestant for the time of a block: `entered`, when it is known who, in which shape and where."""

    def __call__(
        self, *, bulk: bool = False, under: Mapping[str, Sequence[str]] | None = None
    ) -> contextlib.AbstractContextManager[Entrant]: ...


@contextlib.contextmanager
def entered(
    contestant: Contestant,
    shape: Shape,
    ground: Ground,
    *,
    bulk: bool = False,
    under: Mapping[str, Sequence[str]] | None = None,
) -> Iterator[Entrant]:
    """Starts a contestant for the time of the block, once a tunnel through it has echoed a byte; raises StartError.

    `under` has the words of a program that a side runs under, one that watches it and makes it slow.
    """
    near, far, folder = ground.near, ground.far, ground.folder
    server = f"{far.address}:{free_port()}"
    plan = Plan(
        client=f"127.0.0.1:{free_port()}",
        entry=f"{far.address}:{free_port()}" if shape.front else server,
        server=server,
        origin=f"127.0.0.1:{ground.origin_port}",
        folder=folder,
        bulk=bulk,
        tls=ground.certificate if shape.front else None,
    )
    makers = {"server": contestant.server, "front": shape.front, "client": contestant.client}
    sides: dict[str, Popen[str]] = {}
    logs: dict[str, Path] = {}
    under = under or {}
    with contextlib.ExitStack() as stack:
        for side, make in makers.items():
            if make is not None:
                command, prefix = make(plan), (near if side == "client" else far).prefix
                logs[side] = folder / f"{contestant.name}-{shape.name}-{side}.log".replace(" ", "-")
                placed = Command((*prefix, *under.get(side, ()), *command.argv), command.env)
                patience = WATCHED_PATIENCE if side in under else END_PATIENCE
                sides[side] = stack.enter_context(running(placed, logs[side], patience=patience))
        via = plan.client if contestant.client else f"{far.address}:{ground.origin_port}"
        entrant = Entrant(contestant, ground, via, plan.origin if contestant.connect else None, sides)
        entrant.await_tunnel(logs, WATCHED_PATIENCE if under else START_PATIENCE)
        yield entrant
