"""`pog run -- CMD`: the command goes through, is signalled and ends as if it ran alone, and nothing is left."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.helpers import pog
from tests.helpers.items import item
from tests.helpers.origin import answer, echo
from tests.helpers.process import NAMES, ROOT, Program
from tests.helpers.watch import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.helpers.origin import Origin, Origins
    from tests.helpers.tls import Authority

# Without a server: what the command does is the point.
DIRECT = {"SERVER_ADDR": "direct:"}
VARIABLES = "import json, os; print(json.dumps({k: v for k, v in os.environ.items() if k.upper().endswith('_PROXY')}))"
# Whose certificate that is is not the point.
FETCH = (
    "import ssl, sys, urllib.request; context = ssl._create_unverified_context();"
    "print(urllib.request.urlopen(sys.argv[1], timeout=15, context=context).read().decode())"
)


def program(*command: str, env: dict[str, str] | None = None) -> Program:
    return Program([*pog.POG, "run", "--", *command], DIRECT | (env or {}))


def python(code: str, *args: str, env: dict[str, str] | None = None) -> Program:
    return program(sys.executable, "-c", code, *args, env=env)


def processes(session: int) -> list[str]:
    """What runs in a session, zombies too."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = stat.read_text().rpartition(")")
        except OSError:
            continue
        if int(rest.split()[3]) == session:
            found.append(f"{name}) {rest.split()[0]}")
    return found


def check_nothing_left(ended: Program) -> None:
    assert processes(ended.pid) == []


@pytest.fixture(scope="module")
def page(origins: Origins) -> Origin:
    return origins.start(answer(b"hello"))


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_program_goes_through_a_server(scheme: str, origins: Origins, authority: Authority) -> None:
    """By a name that only the server knows."""
    page = origins.start(answer(b"hello"), tls=authority.server_context() if scheme == "https" else None)
    server = pog.server(NAMES)
    with server.program:
        env = {"SERVER_ADDR": server.host_port, "INSECURE": "1"}
        ended = python(FETCH, f"{scheme}://a.good.test:{page.port}/", env=env)
        assert ended.wait() == 0, ended.output()
        assert ended.stdout == ["hello"]
        check_nothing_left(ended)
        eventually(lambda: check_no_tunnel(server))


def check_no_tunnel(server: pog.End) -> None:
    assert server.tunnels() == 0


def test_the_variables() -> None:
    ended = python(VARIABLES, env={"NO_PROXY": "corp.example", "http_proxy": "http://other:1"})
    assert ended.wait() == 0, ended.output()
    assert ended.stderr == []
    found = json.loads(ended.stdout[0])
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        assert found[name] == found[name.lower()]
    assert found["HTTP_PROXY"] == found["HTTPS_PROXY"] == found["ALL_PROXY"]
    assert found["HTTP_PROXY"].startswith("http://127.0.0.1:")
    assert found["NO_PROXY"] == "corp.example,localhost,127.0.0.0/8,127.0.0.1,::1"


def test_where_a_client_asks_for_credentials_the_command_has_some(page: Origin) -> None:
    code = f"{VARIABLES}; {FETCH}"
    ended = python(code, f"http://a.good.test:{page.port}/", env={"CLIENT_AUTH_ME": item("me", "pw"), **NAMES})
    assert ended.wait() == 0, ended.output()
    assert ended.stdout[1] == "hello"
    proxy = json.loads(ended.stdout[0])["http_proxy"]
    assert proxy.startswith("http://pog:")
    assert "@127.0.0.1:" in proxy


def test_input_and_output_are_the_commands() -> None:
    args = [*pog.POG, "run", "cat"]
    env = {"PATH": os.environ["PATH"], **DIRECT}
    done = subprocess.run(args, input=b"a\0b\n" * 100_000, capture_output=True, timeout=20, cwd=ROOT, env=env)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == b"a\0b\n" * 100_000


@pytest.mark.parametrize(
    ("script", "status"),
    [("exit 0", 0), ("exit 7", 7), ("kill -KILL $$", -9), ("kill -TERM $$", -15), ("kill -INT $$", -2)],
)
def test_it_ends_as_the_command_ends(script: str, status: int) -> None:
    ended = program("sh", "-c", script)
    assert ended.wait() == status
    assert ended.stdout + ended.stderr == []
    check_nothing_left(ended)


def test_a_command_that_cannot_be_started(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for command, status, problem in (
        ("pog-is-not-there", 127, "No such file or directory"),
        (str(tmp_path / "file"), 126, "Permission denied"),
    ):
        ended = program(command)
        assert ended.wait() == status
        assert ended.stderr == [f"pog: {command}: {problem}"]


def test_a_wrong_setting_starts_nothing(tmp_path: Path) -> None:
    ended = program("touch", str(tmp_path / "file"), env={"SERVER_ADDR": "nonsense"})
    assert ended.wait() == 2
    assert not (tmp_path / "file").exists()


# Names the signals that arrive, and ends at SIGUSR2 with 3.
LISTENER = """
import os, signal
def say(number, _):
    os.write(1, signal.Signals(number).name.encode() + b"\\n")
    if number == signal.SIGUSR2:
        os._exit(3)
for name in ("HUP", "INT", "QUIT", "TERM", "USR1", "USR2"):
    signal.signal(getattr(signal, f"SIG{name}"), say)
os.write(1, b"ready\\n")
while True:
    signal.pause()
"""


def test_signals_are_passed_on() -> None:
    with python(LISTENER) as running:
        running.wait_line("ready")
        names = ["SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM", "SIGINT", "SIGUSR1", "SIGUSR2"]
        for count, name in enumerate(names, 2):
            running.send_signal(signal.Signals[name])
            eventually(lambda count=count: check_lines(running, count))  # type: ignore[misc]
        assert running.wait() == 3
        assert running.stdout == ["ready", *names]
        check_nothing_left(running)


def check_lines(running: Program, count: int) -> None:
    assert len(running.stdout) == count, running.output()


def test_a_signal_ends_both() -> None:
    with program("sleep", "60") as running:
        eventually(lambda: check_sleeps(running))
        running.send_signal(signal.SIGTERM)
        assert running.wait() == -signal.SIGTERM
        check_nothing_left(running)


def check_sleeps(running: Program) -> None:
    assert any("(sleep)" in each for each in processes(running.pid))


def test_signals_that_were_blocked_or_ignored_are_for_the_command_as_before() -> None:
    """nohup, and Python's own SIGPIPE."""
    mask = (
        "import signal; print(sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])),"
        "signal.getsignal(signal.SIGHUP).name, open('/proc/self/status').read().split('SigIgn:')[1].split()[0])"
    )
    ended = Program(["sh", "-c", 'trap "" HUP; exec "$@"', "sh", *pog.POG, "run", sys.executable, "-c", mask], DIRECT)
    assert ended.wait() == 0, ended.output()
    blocked, handler, ignored = ended.stdout[0].rsplit(" ", 2)
    # Python ignores SIGPIPE (13) and SIGXFSZ (25) again when it starts; from 32 on they are the C library's. In the
    # background of a shell SIGINT and SIGQUIT (2 and 3) may be ignored too.
    signals = int(ignored, 16) % 2**31 & ~(1 << 1 | 1 << 2)
    assert (blocked, handler, signals) == ("[]", "SIG_IGN", 1 << 0 | 1 << 12 | 1 << 24)


@contextmanager
def at_a_terminal(*command: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A program with a terminal of its own, and what a person has of that."""
    ours, theirs = pty.openpty()
    # The leader of a session gets the first terminal that it opens.
    shell = ["sh", "-c", 'exec "$@" <"$0" >"$0" 2>&1', os.ttyname(theirs), *command]
    env = {"PATH": os.environ["PATH"], **DIRECT}
    process = subprocess.Popen(shell, cwd=ROOT, env=env, start_new_session=True)
    try:
        yield process, ours
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(20)
        os.close(theirs)
        os.close(ours)


def read_until(terminal: int, word: bytes) -> bytes:
    said = b""
    while word not in said:
        said += os.read(terminal, 1024)
    return said


def test_a_key_at_a_terminal_reaches_the_command_once() -> None:
    """The terminal signals the whole process group. Ours is stopped meanwhile, for two signals at a time are one; and
    SIGUSR1 takes the way on which the second would come."""
    with at_a_terminal(*pog.POG, "run", "--", sys.executable, "-c", LISTENER) as (process, terminal):
        read_until(terminal, b"ready")
        for key, name in ((b"\x03", b"SIGINT"), (b"\x1c", b"SIGQUIT")):
            process.send_signal(signal.SIGSTOP)
            os.write(terminal, key)
            said = read_until(terminal, name)
            process.send_signal(signal.SIGCONT)
            process.send_signal(signal.SIGUSR1)
            said += read_until(terminal, b"SIGUSR1")
            assert said.count(name) == 1, said
        process.send_signal(signal.SIGINT)  # not a key: it is for us, and so for the command
        read_until(terminal, b"SIGINT")
        process.send_signal(signal.SIGUSR2)
        assert process.wait(20) == 3


# Leaves a child behind that holds a tunnel open, and ends when that is open.
LEAVES_A_CHILD = """
import os, re, socket, sys
host, port = re.search(r"//(.*):(\\d+)", os.environ["http_proxy"]).groups()
opened = os.pipe()
if os.fork():
    os.read(opened[0], 1)
    os._exit(0)
sock = socket.create_connection((host, int(port)))
sock.sendall(f"CONNECT {sys.argv[1]} HTTP/1.1\\r\\n\\r\\n".encode())
sock.recv(1000)
os.write(opened[1], b".")
try:
    rest = sock.recv(1000)
except ConnectionResetError:
    rest = b""
print(rest, flush=True)
"""


def test_the_client_ends_with_the_command_whatever_that_leaves_behind(origins: Origins) -> None:
    ended = python(LEAVES_A_CHILD, origins.start(echo).host_port)
    assert ended.wait() == 0, ended.output()
    assert ended.stderr == []
    assert ended.stdout == ["b''"]
