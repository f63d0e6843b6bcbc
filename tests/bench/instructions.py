"""User-mode instructions a tunnel, counted by valgrind: the same on a busy machine as on an idle one, within a percent.

They say nothing of the kernel's work nor of waiting, but they tell a change of two percent, which CPU time does not.
"""

import re
import shutil
import tempfile
from pathlib import Path

from tests.bench.ground import Enter
from tests.bench.measures import Figures, Scale
from tests.bench.programs import BenchError

# Only instructions: without the model of caches it is three times as fast.
_WORDS = ("valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null")
_TOTAL = re.compile(r"I +refs: +([0-9,]+)")


def instructions(scale: Scale, enter: Enter) -> Figures:
    """scale.counted tunnels with one GET each, 32 at a time; once with the client under valgrind, once with the server.

    A program counts from its start on, so each is started twice: the second time for more tunnels, and the difference
    counts. Raises BenchError without valgrind.
    """
    if shutil.which(_WORDS[0]) is None:
        raise BenchError("no valgrind on PATH (Debian and Ubuntu: apt-get install valgrind)")
    few = scale.counted // 5
    figures: Figures = {}
    for side in ("client", "server"):
        first, second = _total(side, few, enter), _total(side, few + scale.counted, enter)
        figures[f"instructions.{side}"] = (second - first) / scale.counted / 1000
    return figures


def _total(side: str, tunnels: int, enter: Enter) -> int:
    """All instructions of one side from its start to its end, with this number of tunnels between."""
    with tempfile.TemporaryDirectory(prefix="pog-bench-") as folder:
        log = Path(folder) / "valgrind.log"
        with enter(under={side: (*_WORDS, f"--log-file={log}")}) as entrant:
            answer = entrant.load("open", count=tunnels, seconds=300)
        found = _TOTAL.search(log.read_text()) if log.exists() else None
    if answer["done"] != tunnels:
        raise BenchError(f"{answer['done']} of {tunnels} tunnels with the {side} under valgrind")
    if found is None:
        raise BenchError(f"valgrind counted nothing of the {side}")
    return int(found[1].replace(",", ""))
