"""What the figures were measured on: the machine, what else ran on it, and how the Python was built."""

import os
import platform
import resource
import subprocess
import time
from pathlib import Path

# Run by the interpreter in question. CONFIG_ARGS holds the options of configure. Debian and Ubuntu build with PGO and
# LTO by other means and remove the flags from sysconfig afterwards (debian/rules); the emptied PGO_PROF_USE_FLAG is the
# trace that it leaves, since configure never leaves it empty under gcc or clang.
_QUESTION = """
import platform, sysconfig
options = sysconfig.get_config_var("CONFIG_ARGS") or ""
pgo, lto = "--enable-optimizations" in options, "--with-lto" in options
if not (pgo or lto) and sysconfig.get_config_var("PGO_PROF_USE_FLAG") == "":
    built = "by a distribution that hides its flags (Debian: with PGO and LTO)"
else:
    built = f"{'with' if pgo else 'without'} PGO, {'with' if lto else 'without'} LTO"
print(f"{platform.python_implementation()} {platform.python_version()}, built {built}")
"""


def python_build(python: Path) -> str:
    """Version of an interpreter, and whether it was built with profile-guided and link-time optimization."""
    done = subprocess.run([python, "-c", _QUESTION], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else f"{python} does not run: {done.stderr.strip()[-200:]}"


def revision(tree: Path) -> str:
    """The commit of a checkout, "-dirty" behind it when files differ; "no git" where there is none."""
    words = ["git", "-C", str(tree), "describe", "--always", "--dirty", "--exclude=*"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    except OSError:
        return "no git"
    return done.stdout.strip() if done.returncode == 0 else "no git"


def description() -> str:
    return f"{len(os.sched_getaffinity(0))} cores, {platform.machine()}, Linux {platform.release()}"


class Others:
    """How busy the machine was with work that was not ours, from the making of this object on."""

    def __init__(self) -> None:
        self._begun, self._busy, self._ours = time.monotonic(), _busy_seconds(), _our_seconds()

    def share(self) -> float:
        """Of the time of all cores, the part that other processes and the hypervisor took; 0 to 1.

        Ours is this process and the children that have ended, so it is to be asked when all have.
        """
        passed = (time.monotonic() - self._begun) * (os.cpu_count() or 1)
        others = _busy_seconds() - self._busy - (_our_seconds() - self._ours)
        return min(max(others / passed, 0.0), 1.0) if passed else 0.0


def _busy_seconds() -> float:
    """All time that was not idle, of all cores: the first line of /proc/stat, see proc(5)."""
    user, nice, system, _idle, _iowait, irq, softirq, steal = Path("/proc/stat").read_text().split()[1:9]
    return sum(map(int, (user, nice, system, irq, softirq, steal))) / os.sysconf("SC_CLK_TCK")


def _our_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)
