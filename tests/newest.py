"""Runs the end-to-end tests on the newest Python of this machine beside the one that runs this: `make test-newest`.

What differs from version to version shows at the outside: TLS defaults, how servers and event loops end. Where there is
only one Python, that is said and nothing fails; so it is when the dependencies have no wheels for a new one yet.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
# As pyproject.toml says in requires-python.
OLDEST = (3, 11)
# Where interpreters are put, beside PATH: pyenv, uv, GitHub's runners, manylinux.
_PLACES = (
    "~/.pyenv/versions/*/bin",
    "~/.local/share/uv/python/*/bin",
    "/opt/hostedtoolcache/Python/*/*/bin",
    "/opt/python/*/bin",
    "/usr/local/bin",
)
# A shim of pyenv can be run and is none; a Python of Debian may lack ensurepip, without which there is no venv.
_ASK = "import sys, json, ensurepip, ssl; print(json.dumps([sys.version_info[:3], sys.version_info.releaselevel]))"
_ASK_SECONDS = 20


@dataclass(frozen=True, slots=True, order=True)
class Python:
    """An interpreter that can be used."""

    version: tuple[int, ...]
    path: str

    def __str__(self) -> str:
        return f"Python {'.'.join(map(str, self.version))} ({self.path})"


def found() -> list[Python]:
    """Every Python 3 of this machine that is released and complete."""
    folders = [Path(each) for each in os.get_exec_path()]
    for place in _PLACES:
        path = Path(place).expanduser()
        folders += Path(path.anchor).glob(str(path.relative_to(path.anchor)))
    names = {path.resolve() for folder in folders for path in folder.glob("python3.[0-9]*") if _is_program(path)}
    return [python for name in sorted(names) if (python := _asked(name)) is not None]


def _is_program(path: Path) -> bool:
    return path.name.removeprefix("python3.").isdigit() and os.access(path, os.X_OK)


def _asked(path: Path) -> Python | None:
    try:
        said = subprocess.run([path, "-c", _ASK], capture_output=True, check=True, timeout=_ASK_SECONDS).stdout
        version, level = json.loads(said)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return Python(tuple(version), str(path)) if level == "final" else None


def others(pythons: list[Python], own: tuple[int, ...]) -> list[Python]:
    """One of each minor version but our own that pog runs on, the newest first."""
    newest = {python.version[:2]: python for python in sorted(pythons)}
    return sorted((newest[minor] for minor in newest if minor >= OLDEST and minor != own[:2]), reverse=True)


def main(arguments: list[str]) -> int:
    """The exit status of the tests, or 0 when there is no other Python to run them on."""
    # A shell lets what it runs in the background ignore SIGINT, and so would the programs under test.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    ours = ".".join(map(str, sys.version_info[:3]))
    for python in others(found(), sys.version_info[:3]):
        print(f"the newest Python beside {ours}: {python}", flush=True)
        venv = f".venv-{python.version[0]}.{python.version[1]}"
        make = ["make", "--no-print-directory", f"VENV={venv}", f"PYTHON={python.path}"]
        # Wheels only: what would have to be compiled takes longer than all the tests.
        set_up = subprocess.run([*make, f"{venv}/.dev"], cwd=ROOT, env=os.environ | {"PIP_ONLY_BINARY": ":all:"})
        if set_up.returncode == 0:
            return subprocess.run([f"{venv}/bin/pytest", "tests/e2e", *arguments], cwd=ROOT).returncode
        print(f"{python} is not tested: what pog needs cannot be installed there", flush=True)
    print(f"there is only one Python that pog can be tested on here, {ours}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
