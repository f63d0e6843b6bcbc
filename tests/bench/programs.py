"""The origin and the load generator: C, compiled at run time into a folder that the caller removes."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent


class BenchError(Exception):
    """The benchmark cannot go on; the text says what is missing or what failed."""


@dataclass(frozen=True, slots=True)
class Programs:
    origin: Path
    load: Path


def compile_programs(folder: Path) -> Programs:
    """Compiles origin.c and load.c into `folder`; raises BenchError without a compiler, or when it refuses."""
    wanted = os.environ.get("CC") or "cc"
    compiler = next((found for name in (wanted, "gcc", "clang") if (found := shutil.which(name))), None)
    if compiler is None:
        raise BenchError(
            f"no C compiler: {wanted}, gcc and clang are not on PATH. The load generator has to be faster than what it "
            "measures, so it is C; install a compiler (Debian and Ubuntu: apt-get install gcc libc6-dev), "
            "or name one in CC"
        )
    for name in ("origin", "load"):
        command = [compiler, "-O2", "-o", str(folder / name), str(HERE / f"{name}.c")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise BenchError(f"{' '.join(command)} failed:\n{done.stderr.strip()}")
    return Programs(folder / "origin", folder / "load")
