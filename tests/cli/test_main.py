import asyncio
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from types import ModuleType
from typing import Any

import bcrypt
import click
import pytest
from click.testing import CliRunner, Result

import pog
from pog.cli.main import main
from pog.config.auth_items import parse_item
from pog.config.client_settings import ClientSettings
from pog.config.server_settings import ServerSettings
from pog.config.settings import CommonSettings, table
from pog.errors import ExitUnavailable
from pog.net.address import Address
from pog.net.listen import CannotListen

HALF_A_YEAR = timedelta(hours=4320)
NO_ENV = {"SERVER_ADDR": "", "PORT": "", "CLIENT_LISTEN": ""}
Main = Callable[[asyncio.Event], Coroutine[object, object, None]]


def invoke(*args: str, env: dict[str, str] | None = None, stdin: str | None = None) -> Result:
    return CliRunner().invoke(main, args, env=NO_ENV | (env or {}), input=stdin, prog_name="pog")


def made(result: Result) -> Any:
    """The item that a command printed, and that nothing else is on standard output."""
    assert result.exit_code == 0, result.output
    assert result.stdout.count("\n") == 1
    return parse_item(result.stdout)


def test_version() -> None:
    for flag in ("--version", "-V"):
        assert invoke(flag).output == f"pog, version {pog.__version__}\n"


def test_python_m_pog_is_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "pog", "-h"], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.startswith("Usage: pog [OPTIONS] COMMAND")


def test_help_needs_nothing_heavy() -> None:
    heavy = ("hypercorn", "h2", "starlette", "prometheus_client", "bcrypt", "asyncio")
    code = f"import sys, pog.cli.main; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(("command", "cls"), [("server", ServerSettings), ("client", ClientSettings)])
def test_every_setting_is_in_the_help_of_its_command(command: str, cls: type[CommonSettings]) -> None:
    text = " ".join(invoke(command, "--help").output.split())
    for _, row in table(cls):
        for each in row.spellings:
            assert f" {each.flag}" in text if each.flag else f" {each.env} " in text
    assert "[DISABLE_ACCESS_LOGGING]" in text
    assert "[METRIC_NAMESPACE]" in text
    assert "[DRAIN_TIMEOUT; default 8]" in text


def commands(group: click.Group = main, *path: str) -> list[tuple[str, ...]]:
    """The words of every command, groups included."""
    found: list[tuple[str, ...]] = [path]
    for name, command in group.commands.items():
        found += commands(command, *path, name) if isinstance(command, click.Group) else [(*path, name)]
    return found


@pytest.mark.parametrize("words", commands(), ids=lambda words: " ".join(words) or "pog")
def test_help_ends_with_examples_that_are_right(words: tuple[str, ...]) -> None:
    text = invoke(*words, "--help").output
    lines = [line.strip() for line in text.rpartition("Examples:\n")[2].splitlines()]
    assert lines
    for line in lines:
        found = re.search(r"\bpog [^|<>)'\"]+", line)
        assert found, line
        check_parses(main, shlex.split(found[0])[1:])


def check_parses(group: click.Group, args: list[str]) -> None:
    """Raises UsageError for what is no command, and for an option that it does not have."""
    name, command, rest = group.resolve_command(click.Context(group), args)
    assert command is not None
    if isinstance(command, click.Group):
        check_parses(command, rest)
    elif "--help" not in rest:
        command.make_context(name, rest)


def test_help_begins_with_what_one_needs() -> None:
    flags = re.findall(r"^  (--[a-z-]+)", invoke("client", "--help").output, re.MULTILINE)
    assert flags[:2] == ["--server-addr", "--server-host"]
    assert flags.index("--listen") < flags.index("--metric-namespace")
    flags = re.findall(r"^  (--[a-z-]+)", invoke("up", "--help").output, re.MULTILINE)
    assert flags[0] == "--listen"
    assert flags.index("--egress-allow") < flags.index("--metric-namespace")
    assert len(set(flags)) == len(flags)
    listed = re.findall(r"^  ([a-z]+)  ", invoke("--help").output, re.MULTILINE)
    assert listed[:3] == ["up", "server", "client"]


class Program:
    """Stands in for a server or a client: keeps the settings, starts, and then does as told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, raising: Exception | None = None) -> None:
        self.settings: dict[str, Any] = {}
        self._raising = raising
        for name, attribute in (("pog.server.serve", "serve"), ("pog.client.app", "run")):
            module = ModuleType(name)
            setattr(module, attribute, self._end(attribute))
            monkeypatch.setitem(sys.modules, name, module)
        monkeypatch.setattr("pog.process.run.run", self._run)
        monkeypatch.setattr("pog.observe.messages.set_up_logging", lambda *_: None)

    def _run(self, main: Main) -> None:
        shutdown = asyncio.Event()
        shutdown.set()
        asyncio.run(main(shutdown))

    def _end(self, name: str) -> Callable[..., Coroutine[object, object, None]]:
        async def end(
            settings: Any, *, shutdown: asyncio.Event, started: Callable[[list[Any]], None], **_: Any
        ) -> None:
            self.settings[name] = settings
            if self._raising:
                raise self._raising
            started(list(settings.listen) if name == "run" else [settings.listen])
            await shutdown.wait()

        return end


def test_server_takes_flags_over_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    program = Program(monkeypatch)
    result = invoke(
        "server", "--port", "9", "--no-access-log", "--egress-allow", "::1", env={"PORT": "7", "STACKS": "1"}
    )
    assert result.exit_code == 0, result.output
    settings = program.settings["serve"]
    assert (settings.listen, settings.access_log, settings.stacks) == (Address("", 9), False, True)
    assert "pog server on :9\n" in result.stderr
    assert result.stdout == ""


def test_client_warns_when_everybody_may_use_it(monkeypatch: pytest.MonkeyPatch) -> None:
    program = Program(monkeypatch)
    closed = invoke("client", "--server-addr", "a:1", "--insecure")
    assert closed.stderr == "pog client on 127.0.0.1:18080, [::1]:18080\n"
    assert program.settings["run"].insecure is True
    result = invoke("client", "--server-addr", "a:1", env={"CLIENT_LISTEN": ":18080"})
    assert "OPEN PROXY: no CLIENT_AUTH_* is set and :18080 is not loopback" in result.stderr
    item = invoke("genauthitem").stdout
    assert "OPEN" not in invoke("client", "--server-addr", "a:1", "--listen", ":1", env={"CLIENT_AUTH_A": item}).stderr


def test_up_prints_a_line_to_paste(monkeypatch: pytest.MonkeyPatch) -> None:
    program = Program(monkeypatch)
    env = {"SERVER_ADDR": "elsewhere:1", "PORT": "8080", "SERVER_HOST": "x", "GRPC_AND_HTTP_MUX": "0"}
    result = invoke("up", env=env)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [
        "server on 127.0.0.1:0",
        "proxy http://127.0.0.1:18080, http://[::1]:18080",
        "try:  curl -x http://127.0.0.1:18080 https://example.com/",
    ]
    server, client = program.settings["serve"], program.settings["run"]
    assert (server.listen, server.grpc_and_http_mux) == (Address("127.0.0.1", 0), True)
    assert (client.server_addr, client.server_host, client.insecure) == (server.listen, "", True)
    assert (server.access_log, client.access_log) == (False, True), "a tunnel is one line"


def test_up_says_what_a_user_has_to_give(monkeypatch: pytest.MonkeyPatch) -> None:
    Program(monkeypatch)
    item = invoke("genauthitem", "--name", "ilya").stdout
    result = invoke("up", "--listen", ":3128", env={"CLIENT_AUTH_ILYA": item})
    assert "curl -x http://ilya:PASSWORD@127.0.0.1:3128 " in result.stdout
    assert "OPEN PROXY" not in result.stderr
    assert "OPEN PROXY" in invoke("up", "--listen", ":3128").stderr


@pytest.mark.parametrize(
    ("args", "problem"),
    [
        (["server", "--listen", "9"], "pog: --listen: must be [host]:port"),
        (["server", "--workers", "0"], "pog: --workers: must be a whole number from 1 to 256"),
        (["client"], "pog: SERVER_ADDR: is not set"),
        (["client", "--server-addr", "a:1", "--server-addr", "b:1"], "pog: --server-addr: is given 2 times"),
        (["auth", "new", "a:b", "--password", "x"], "pog: name: must be printable text without a colon"),
        (["auth", "new", "a", "--password", "x" * 73], "pog: password: must be at most 72 bytes"),
        (["auth", "new", "a", "--password", "x", "--generate"], "pog: --generate: must not"),
        (["auth", "new", "a", "--password", "x", "--ttl", "-1h"], "pog: --ttl: must be more than 0"),
        (["auth", "new", "a"], "pog: password: must be given by --password, --generate or on standard input"),
        (["auth", "new", "a", "--password", ""], "pog: password: must be given by --password, --generate or"),
        # Before a password is printed.
        (["auth", "new", "a:b", "--generate"], "pog: name: must be printable text without a colon"),
    ],
)
def test_a_bad_setting_is_one_line_and_status_2(args: list[str], problem: str) -> None:
    result = invoke(*args)
    assert result.exit_code == 2
    assert result.stderr.startswith(problem)
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("raised", "line"),
    [
        (OSError(98, "cannot listen on 127.0.0.1:8080: Address already in use"), "cannot listen on 127.0.0.1:8080: "),
        (
            CannotListen(98, "cannot listen on 127.0.0.1:80: Address already in use"),
            "cannot listen on 127.0.0.1:80: Address already in use; choose another place with --listen",
        ),
        (FileNotFoundError(2, "No such file or directory", "/tmp/x"), "/tmp/x: No such file or directory"),
        (ExitUnavailable("no such host"), "no such host"),
        (ExceptionGroup("both", [ExceptionGroup("ends", [OSError("one")])]), "one"),
    ],
)
def test_a_failure_is_one_line_and_status_1(monkeypatch: pytest.MonkeyPatch, raised: Exception, line: str) -> None:
    Program(monkeypatch, raised)
    for command in (["server"], ["client", "--server-addr", "a:1"], ["up"]):
        result = invoke(*command)
        assert result.exit_code == 1
        assert result.stderr.startswith(f"pog: {line}")
        assert result.stderr.count("\n") == 1


def test_our_own_faults_keep_their_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    Program(monkeypatch, ZeroDivisionError())
    assert isinstance(invoke("server").exception, ZeroDivisionError)


def test_genauthitem_has_the_flags_and_the_defaults_of_the_original() -> None:
    item = made(invoke("genauthitem"))
    assert item.name == "name"
    assert bcrypt.checkpw(b"password", item.hash.encode())
    assert abs(item.expires - datetime.now(UTC) - HALF_A_YEAR) < timedelta(minutes=1)
    other = made(invoke("genauthitem", "--name", "pog-client", "--password", "pw", "--timeToLive", "100000h"))
    assert other.name == "pog-client"
    assert bcrypt.checkpw(b"pw", other.hash.encode())
    assert abs(other.expires - datetime.now(UTC) - timedelta(hours=100_000)) < timedelta(minutes=1)


def test_genauthitem_prints_json_like_go() -> None:
    line = invoke("genauthitem", "--timeToLive", "-1h").stdout
    assert list(json.loads(line)) == ["name", "hash", "exp_date"]
    assert line.startswith('{"name":"name","hash":"$2a$10$')
    assert line.endswith('Z"}\n')
    assert invoke("genauthitem", "--timeToLive", "1w").exit_code == 2


def test_auth_new_takes_the_password_from_standard_input() -> None:
    result = invoke("auth", "new", "o'neil", "--ttl", "1h", stdin="\ufeffs3cret\r\nmore\n")
    item = made(result)
    assert bcrypt.checkpw(b"s3cret", item.hash.encode())
    assert "s3cret" not in result.output
    assert f"o'neil may pass until {item.expires:%Y-%m-%d %H:%M:%S} UTC" in result.stderr
    assert "POG_AUTH_O_NEIL='" in result.stderr
    assert "CLIENT_AUTH_O_NEIL" in result.stderr


def test_auth_new_makes_up_a_strong_password() -> None:
    result = invoke("auth", "new", "ilya", "--generate")
    password = result.stderr.splitlines()[0].removeprefix("password: ")
    assert len(password) >= 24
    assert bcrypt.checkpw(password.encode(), made(result).hash.encode())
