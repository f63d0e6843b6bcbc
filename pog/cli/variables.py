"""The variables by which programs know their proxy, and how shells write them. [pure]

Most programs read the names in lower case, some those in upper case, and none reads a third one: both are given. What
a program takes in NO_PROXY differs; names, addresses and networks as here are understood or passed over by all that
were looked at (curl, Go, Python's urllib and requests, Node).
"""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

from pog.net.address import Address, UnixPath

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pog.config.endpoints import Endpoint

_PROXY = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
_NO_PROXY = "NO_PROXY"
# What is this machine's own.
_DIRECT = ("localhost", "127.0.0.0/8", "127.0.0.1", "::1")


def proxy_url(endpoint: Endpoint, login: str = "", this_machine: str = "127.0.0.1") -> str:
    """How a program writes its proxy. `this_machine` stands where the client listens on every address."""
    at = endpoint.at
    if isinstance(at, Address) and at.host in ("", "0.0.0.0", "::"):
        at = Address(this_machine, at.port)
    return str(at) if isinstance(at, UnixPath) else f"{'https' if endpoint.tls else 'http'}://{login}{at}"


def proxy_variables(url: str, environ: Mapping[str, str]) -> dict[str, str]:
    """The variables that lead through the proxy at `url`. What the environment exempts stays exempt, but for
    everything (*)."""
    given = environ.get(_NO_PROXY.lower()) or environ.get(_NO_PROXY) or ""
    exempt = dict.fromkeys([*(each for each in re.split(r"[\s,]+", given) if each not in ("", "*")), *_DIRECT])
    values = {**dict.fromkeys(_PROXY, url), _NO_PROXY: ",".join(exempt)}
    return {spelling: value for name, value in values.items() for spelling in (name, name.lower())}


def _fish(name: str, value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"set -gx {name} '{escaped}';"


def _powershell(name: str, value: str) -> str:
    # PowerShell takes typographic quotes for the same.
    escaped = re.sub("(['\u2018\u2019\u201a\u201b])", r"\1\1", value)
    return f"$Env:{name} = '{escaped}';"


# A line for a variable. Semicolons, for `eval $(pog env)` without quotes makes one line of all.
SHELLS: dict[str, Callable[[str, str], str]] = {
    "bash": lambda name, value: f"export {name}={shlex.quote(value)};",
    "zsh": lambda name, value: f"export {name}={shlex.quote(value)};",
    "sh": lambda name, value: f"export {name}={shlex.quote(value)};",
    "fish": _fish,
    "powershell": _powershell,
    "docker": lambda name, value: f"{name}={value}",
}
_ALSO = {"dash": "sh", "ash": "sh", "ksh": "sh", "mksh": "sh", "busybox": "sh", "pwsh": "powershell"}


def shell_of(path: str) -> str | None:
    """The name in SHELLS for the program that $SHELL names; None for one that is not known."""
    name = re.split(r"[/\\]", path)[-1].lower().removesuffix(".exe")
    name = _ALSO.get(name, name)
    return name if name in SHELLS and name != "docker" else None
