"""What is compared: each contestant is how to start its client's side and its server's side.

A further program is one more entry in CONTESTANTS; one that is not in DEFAULT runs when --contestants names it and it
is on PATH. Other trees of pog become contestants by --against.
"""

import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench.certificate import NAME, Certificate
from tests.bench.processes import Command

POG = Path(sys.executable).parent / "pog"
YARDSTICK = "haproxy x2"
OURS = "pog"
PORTABLE_SWITCH = "POG_ENGINE"


@dataclass(frozen=True, slots=True)
class Plan:
    """Addresses (host:port) for one start: user → client → (front →) server → origin.

    `client` and `server` are where the two sides listen, `entry` what the client's side connects to: the server, or the
    front before it. With `tls` the front speaks TLS under that certificate, otherwise the entry is cleartext.
    `folder` is for configuration files; `bulk` says that long transfers are measured, for a program that wants to know.
    """

    client: str
    entry: str
    server: str
    origin: str
    folder: Path
    bulk: bool
    tls: Certificate | None


Maker = Callable[[Plan], Command]


def no_obstacle() -> str | None:
    return None


@dataclass(frozen=True, slots=True)
class Contestant:
    """`connect`: its client is an HTTP proxy; otherwise it forwards TCP to the origin, and no CONNECT is spoken.

    Without a client and a server the user connects to the origin itself. It enters the shapes that `shapes` names.
    `obstacle` says why it cannot run here; with `rival` the report has a column of pog's ratios to it. `python` is the
    interpreter that it runs on, and `tree` the checkout that it is from, where there is one.
    """

    name: str
    connect: bool
    client: Maker | None = None
    server: Maker | None = None
    needs: tuple[str, ...] = ()
    shapes: tuple[str, ...] = ("h2c",)
    obstacle: Callable[[], str | None] = no_obstacle
    rival: bool = False
    python: Path | None = None
    tree: Path | None = None

    def why_not(self) -> str | None:
        """Why it cannot run here, or None."""
        missing = [program for program in self.needs if shutil.which(program) is None]
        return f"not on PATH: {', '.join(missing)}" if missing else self.obstacle()


def haproxy(plan: Plan, listen: str, forward: str, tls: Certificate | None = None) -> Command:
    """One thread, TCP mode, splicing: the least that a program between two sockets can do.

    With `tls` it speaks TLS to the next hop.

    With splice-auto alone haproxy decides early in a transfer, by timing: of equal transfers some are spliced and some
    copied (seen with 2.6, a factor of two apart). So splicing is forced for bulk, where it is the faster way, and left
    to haproxy for the rest, where forcing it makes an echo slower.
    """
    splice = "".join(f"  option splice-{way}\n" for way in ("auto", *(("request", "response") if plan.bulk else ())))
    verify = f" ssl verify required ca-file {tls.authority} verifyhost {NAME}" if tls else ""
    config = plan.folder / f"haproxy-{listen.replace(':', '-')}.cfg"
    config.write_text(
        "global\n  nbthread 1\n  maxconn 6000\n  maxpipes 1500\n"
        f"defaults\n  mode tcp\n{splice}"
        "  timeout connect 10s\n  timeout client 1h\n  timeout server 1h\n"
        f"listen hop\n  bind {listen}\n  server next {forward}{verify}\n"
    )
    return Command(("haproxy", "-db", "-f", str(config)), {})


def pog_server(plan: Plan, program: Path = POG, engine: str = "") -> Command:
    env = {
        "PORT": plan.server.rpartition(":")[2],
        "SERVER_LISTEN": plan.server,
        "POG_OPEN": "1",  # over the simulated network it is not on loopback
        "EGRESS_ALLOW": "127.0.0.0/8",
        "DISABLE_ACCESS_LOGGING": "1",
    }
    return Command((str(program), "server"), {**env, **({PORTABLE_SWITCH: engine} if engine else {})})


def pog_client(plan: Plan, program: Path = POG) -> Command:
    if plan.tls:
        security = {"SSL_CERT_FILE": str(plan.tls.authority), "SERVER_HOST": NAME}
    else:
        security = {"INSECURE": "1"}
    env = {"SERVER_ADDR": plan.entry, "CLIENT_LISTEN": plan.client, "DISABLE_ACCESS_LOGGING": "1"}
    return Command((str(program), "client"), {**env, **security})


def pog_obstacle(program: Path = POG) -> str | None:
    """The commands are tried out, so that a broken tree is a skipped contestant and not a long wait."""
    for command in ("server", "client"):
        done = subprocess.run([program, command, "--help"], capture_output=True, text=True, check=False)
        if done.returncode:
            return f"pog {command} --help ends with status {done.returncode}: {done.stderr.strip().splitlines()[-1:]}"
    return None


def portable_obstacle() -> str | None:
    """Without the switch the portable contestant would be pog once more, under another name."""
    if (obstacle := pog_obstacle()) is not None:
        return obstacle
    text = subprocess.run([POG, "server", "--help"], capture_output=True, text=True, check=False).stdout
    return None if PORTABLE_SWITCH in text else f"pog server --help does not know {PORTABLE_SWITCH}"


def other_tree(spec: str) -> Contestant:
    """The pog of another checkout, or of another environment: `[NAME=]PATH`, with the name "before" if there is none.

    PATH is a checkout, of which `.venv/bin/pog` runs, or a program `pog`: so another Python can be compared as well.
    """
    name, _, path = spec.rpartition("=")
    given = Path(path).resolve()
    tree = given if given.is_dir() else None
    program = given / ".venv/bin/pog" if tree else given

    def obstacle() -> str | None:
        if not program.exists():
            return f"there is no {program}" + (f"; make -C {tree} .venv/.run builds it" if tree else "")
        return pog_obstacle(program)

    return Contestant(
        name or "before",
        connect=True,
        client=lambda plan: pog_client(plan, program),
        server=lambda plan: pog_server(plan, program),
        shapes=("h2c", "tls", "hop"),
        obstacle=obstacle,
        rival=True,
        python=program.parent / "python",
        tree=tree,
    )


CONTESTANTS = (
    Contestant("direct", connect=False),
    Contestant(
        YARDSTICK,
        connect=False,
        client=lambda plan: haproxy(plan, plan.client, plan.entry, plan.tls),
        server=lambda plan: haproxy(plan, plan.server, plan.origin),
        needs=("haproxy",),
        shapes=("h2c", "tls"),
        rival=True,
    ),
    Contestant(
        "pog portable",
        connect=True,
        client=pog_client,
        server=lambda plan: pog_server(plan, engine="portable"),
        obstacle=portable_obstacle,
    ),
    Contestant(
        OURS,
        connect=True,
        client=pog_client,
        server=pog_server,
        shapes=("h2c", "tls", "hop"),
        obstacle=pog_obstacle,
        python=Path(sys.executable),
        tree=Path(__file__).parents[2],
    ),
    Contestant(
        "pproxy x2",
        connect=True,
        client=lambda plan: Command(("pproxy", "-l", f"http://{plan.client}", "-r", f"http://{plan.server}"), {}),
        server=lambda plan: Command(("pproxy", "-l", f"http://{plan.server}"), {}),
        needs=("pproxy",),
    ),
)
DEFAULT = ("direct", YARDSTICK, "pog portable", OURS)


def choose(names: str | None, against: Sequence[str] = ()) -> tuple[list[Contestant], dict[str, str]]:
    """The contestants that can run, and for those that cannot, why. `names` is comma-separated; None is DEFAULT.

    The trees of `against` stand last, beside pog itself.
    """
    others = [other_tree(spec) for spec in against]
    wanted = [name.strip() for name in names.split(",")] if names else list(DEFAULT)
    known = {contestant.name: contestant for contestant in (*CONTESTANTS, *others)}
    skipped = {name: f"unknown; there are {', '.join(known)}" for name in wanted if name not in known}
    able = []
    for name in dict.fromkeys([*wanted, *(other.name for other in others)]):
        if name in skipped:
            continue
        if (reason := known[name].why_not()) is None:
            able.append(known[name])
        else:
            skipped[name] = reason
    return able, skipped
