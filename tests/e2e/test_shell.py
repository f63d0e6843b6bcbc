"""`pog env` and `pog completion`, as a shell takes them."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.helpers import pog
from tests.helpers.items import item
from tests.helpers.process import ROOT, Program

if TYPE_CHECKING:
    from pathlib import Path

POG = f"{sys.executable} -m pog"


def bash(script: str, **env: str) -> str:
    environ = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "SHELL": "/bin/bash", **env}
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=30, cwd=ROOT, env=environ)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.parametrize("line", ['eval "$(POG env)"', "eval $(POG env)", "source <(POG env --shell bash)"])
def test_a_shell_that_takes_the_lines(line: str) -> None:
    """Also as one line, and with what the environment says of no proxy."""
    script = line.replace("POG", POG) + "; echo $http_proxy $HTTPS_PROXY $all_proxy $NO_PROXY $no_proxy"
    url, exempt = "http://127.0.0.1:3128", "corp.example,$(echo,localhost,127.0.0.0/8,127.0.0.1,::1"
    said = bash(script, CLIENT_LISTEN="unix:/run/x,https://:1,127.0.0.1:3128", no_proxy="corp.example,$(echo")
    assert said.split() == [url, url, url, exempt, exempt]


def run(*args: str, **env: str) -> Program:
    program = Program([*pog.POG, *args], {"HOME": "/nonexistent", **env})
    program.wait()
    program.check_output()
    return program


def test_the_shell_is_that_of_the_variable(tmp_path: Path) -> None:
    assert run("env").stdout[0] == "export HTTP_PROXY=http://127.0.0.1:18080;"
    assert run("env", SHELL="/usr/bin/fish").stdout[0] == "set -gx HTTP_PROXY 'http://127.0.0.1:18080';"
    docker = run("env", "--shell", "docker", "--listen", ":3128", CLIENT_AUTH_A=item("a", "b"))
    assert docker.stdout[0] == "HTTP_PROXY=http://host.docker.internal:3128"
    assert docker.stderr == []
    (tmp_path / "config.toml").write_text('listen = "192.0.2.1:3128"\n[[exits]]\nname = "west"\nserver = "a:1"\n')
    assert run("env", POG_CONFIG=str(tmp_path / "config.toml")).stdout[0].endswith("=http://192.0.2.1:3128;")


@pytest.mark.parametrize(
    ("env", "problem"),
    [
        ({"SHELL": "/bin/tcsh"}, "pog: SHELL: names a shell that is not known, '/bin/tcsh'; choose with --shell"),
        ({"CLIENT_LISTEN": "unix:/run/pog.sock"}, "pog: CLIENT_LISTEN: has no address"),
        ({"CLIENT_LISTEN": "127.0.0.1:0"}, "pog: CLIENT_LISTEN: leaves the port of 127.0.0.1:0 to chance"),
    ],
)
def test_what_cannot_be_told(env: dict[str, str], problem: str) -> None:
    program = run("env", **env)
    assert program.wait() == 2
    assert program.stdout == []
    (line,) = program.stderr
    assert line.startswith(problem)


def test_bash_completes_commands_and_options() -> None:
    """By its own function, as at a terminal."""
    complete = f"""
        pog() {{ {POG} "$@"; }}
        export -f pog
        eval "$(pog completion bash)"
        words() {{
            COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
            _pog_completion pog
            echo "${{COMPREPLY[@]}}"
        }}
        env() {{ command env "${{@:1:3}}" {POG}; }}
        words pog he; words pog client --server-h; words pog env --shell po
    """
    assert bash(complete).splitlines() == ["health", "--server-host", "powershell"]


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_have_their_own(shell: str) -> None:
    assert any(f"_POG_COMPLETE={shell}_complete" in line for line in run("completion", shell).stdout)
