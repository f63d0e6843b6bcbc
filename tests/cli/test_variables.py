"""How programs are told their proxy, and how shells write it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest

from pog.cli.variables import SHELLS, proxy_url, proxy_variables, shell_of
from pog.config.endpoints import Endpoint
from pog.net.address import Address, UnixPath

PROXY = "http://127.0.0.1:18080"
DIRECT = "localhost,127.0.0.0/8,127.0.0.1,::1"


def test_both_cases_and_loopback_is_exempt() -> None:
    variables = proxy_variables(PROXY, {})
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        assert variables.pop(name) == variables.pop(name.lower()) == PROXY
    assert variables == {"NO_PROXY": DIRECT, "no_proxy": DIRECT}


@pytest.mark.parametrize(
    ("environ", "exempt"),
    [
        ({"NO_PROXY": "corp.example"}, f"corp.example,{DIRECT}"),
        ({"no_proxy": "a, .b  c,,localhost"}, "a,.b,c,localhost,127.0.0.0/8,127.0.0.1,::1"),
        ({"NO_PROXY": "upper", "no_proxy": "lower"}, f"lower,{DIRECT}"),
        ({"NO_PROXY": "*", "no_proxy": ""}, DIRECT),
        ({"NO_PROXY": f"a,{DIRECT}"}, f"a,{DIRECT}"),
    ],
)
def test_what_was_exempt_stays_exempt_but_for_everything(environ: dict[str, str], exempt: str) -> None:
    assert proxy_variables(PROXY, environ)["no_proxy"] == exempt


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        (Endpoint(Address("127.0.0.1", 18080)), "http://127.0.0.1:18080"),
        (Endpoint(Address("::1", 1), tls=True), "https://[::1]:1"),
        (Endpoint(Address("", 1)), "http://127.0.0.1:1"),
        (Endpoint(Address("::", 1)), "http://127.0.0.1:1"),
        (Endpoint(Address("192.0.2.1", 1)), "http://192.0.2.1:1"),
        (Endpoint(UnixPath("/run/pog.sock")), "unix:/run/pog.sock"),
    ],
)
def test_the_address_of_a_proxy(endpoint: Endpoint, url: str) -> None:
    assert proxy_url(endpoint) == url


def test_the_address_as_a_container_sees_it() -> None:
    assert proxy_url(Endpoint(Address("0.0.0.0", 1)), "me:pw@", "docker.internal") == "http://me:pw@docker.internal:1"


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/bin/bash", "bash"),
        ("/usr/bin/zsh", "zsh"),
        ("/bin/dash", "sh"),
        ("fish", "fish"),
        ("/opt/microsoft/powershell/7/pwsh", "powershell"),
        ("C:\\Program Files\\Git\\bin\\bash.exe", "bash"),
        ("/bin/tcsh", None),
        ("/bin/docker", None),
        ("", None),
    ],
)
def test_the_shell_by_its_path(path: str, name: str | None) -> None:
    assert shell_of(path) == name


# Nothing of a value is executed, or lost.
NASTY = "a'b\"c$HOME`id`$(id);\\d\u2019&|<>*?[x]{y}~#!"
REPORT = f"{sys.executable} -c 'import json, os; print(json.dumps(os.environ.get(\"POG_TEST\")))'"


@pytest.mark.parametrize(
    ("shell", "program"),
    [
        ("bash", ["bash", "-c"]),
        ("sh", ["sh", "-c"]),
        ("zsh", ["zsh", "-f", "-c"]),
        ("fish", ["fish", "--no-config", "-c"]),
        ("powershell", ["pwsh", "-NoProfile", "-Command"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.parametrize("value", ["http://127.0.0.1:18080", NASTY])
def test_a_line_is_what_the_shell_takes_it_for(shell: str, program: list[str], value: str) -> None:
    if shutil.which(program[0]) is None:
        pytest.skip(f"{program[0]} is not installed")
    script = f"{SHELLS[shell]('POG_TEST', value)} {REPORT}"
    done = subprocess.run([*program, script], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == value


def test_docker_takes_lines_as_they_are() -> None:
    assert SHELLS["docker"]("A", "b c'd") == "A=b c'd"
