"""OpenSSH through `pog connect`: an sshd as the destination, ssh and scp with it as their ProxyCommand."""

from __future__ import annotations

import getpass
import hashlib
import os
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.helpers import pog
from tests.helpers.origin import blocks, digest, unused_port
from tests.helpers.process import Program
from tests.helpers.watch import eventually
from tests.system.conftest import program

if TYPE_CHECKING:
    from collections.abc import Iterator

MANY = 20_000_000
SECONDS = 30.0
# sshd asks for it where it runs as root; a service manager makes it otherwise.
PRIVILEGE_SEPARATION = Path("/run/sshd")


@dataclass(frozen=True, slots=True)
class Ssh:
    """An sshd, and the options with which ssh and scp reach it through a tunnel."""

    sshd: Program
    options: list[str]
    destination: str

    def command(self, *remote: str) -> list[str]:
        return [program("ssh"), *self.options, self.destination, shlex.join(remote)]


@pytest.fixture(scope="module")
def ssh(tmp_path_factory: pytest.TempPathFactory, shared_server: pog.End) -> Iterator[Ssh]:
    folder, port = tmp_path_factory.mktemp("ssh"), unused_port()
    daemon = program("sshd")
    for name in ("host", "user"):
        args = ["-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
        subprocess.run([program("ssh-keygen"), *args], check=True, timeout=SECONDS)
    (folder / "known").write_text(f"pog-test {(folder / 'host.pub').read_text()}")
    (folder / "config").write_text(
        f"ListenAddress 127.0.0.1:{port}\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/user.pub\nPidFile none\n"
        "StrictModes no\nUsePAM no\nPermitRootLogin yes\nSubsystem sftp internal-sftp\n"
    )
    made = os.getuid() == 0 and not PRIVILEGE_SEPARATION.exists()
    if made:
        PRIVILEGE_SEPARATION.mkdir(mode=0o755)
    connect = shlex.join([*pog.POG, "connect", "--insecure", "--server-addr", shared_server.host_port])
    settings = {
        "ProxyCommand": f"{connect} %h:%p",
        "Port": str(port),
        "IdentityFile": str(folder / "user"),
        "IdentitiesOnly": "yes",
        "UserKnownHostsFile": str(folder / "known"),
        "HostKeyAlias": "pog-test",
        "BatchMode": "yes",
    }
    options = ["-F", "none", *(word for name, value in settings.items() for word in ("-o", f"{name}={value}"))]
    sshd = Program([daemon, "-D", "-e", "-f", str(folder / "config")])
    try:
        sshd.wait_line("Server listening on")
        yield Ssh(sshd, options, f"{getpass.getuser()}@127.0.0.1")
    finally:
        sshd.kill()
        if made:
            PRIVILEGE_SEPARATION.rmdir()


def run(args: list[str], data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(args, input=data, capture_output=True, timeout=SECONDS)


def test_a_remote_command_gets_its_input_and_its_status_comes_back(ssh: Ssh) -> None:
    done = run(ssh.command("sh", "-c", "sha256sum; exit 7"), b"".join(blocks(MANY)))
    assert (done.returncode, done.stderr) == (7, b""), ssh.sshd.output()
    assert done.stdout.decode().split()[0] == digest(MANY)


def test_much_output(ssh: Ssh) -> None:
    done = run(ssh.command("head", "-c", str(MANY), "/dev/zero"))
    assert (done.returncode, done.stderr) == (0, b""), ssh.sshd.output()
    assert done.stdout == bytes(MANY)


def test_a_file_there_and_back(ssh: Ssh, tmp_path: Path) -> None:
    (tmp_path / "here").write_bytes(b"".join(blocks(MANY)))
    for source, target in (
        (str(tmp_path / "here"), f"{ssh.destination}:{tmp_path}/there"),
        (f"{ssh.destination}:{tmp_path}/there", str(tmp_path / "back")),
    ):
        done = run([program("scp"), *ssh.options, source, target])
        assert done.returncode == 0, done.stderr
    assert hashlib.sha256((tmp_path / "back").read_bytes()).hexdigest() == digest(MANY)


def test_why_there_is_no_connection_stands_among_what_ssh_says(ssh: Ssh) -> None:
    options = ["-o", f"Port={unused_port()}", *ssh.options]
    done = run([program("ssh"), *options, ssh.destination, "true"])
    assert done.returncode == 255
    assert b"refused the connection: Connection refused" in done.stderr


def test_nothing_stays_at_the_server(ssh: Ssh, shared_server: pog.End) -> None:
    assert run(ssh.command("true")).returncode == 0

    def check() -> None:
        assert shared_server.tunnels() == 0

    eventually(check)
