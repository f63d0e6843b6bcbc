"""How a server's certificate is checked, said by variables and in the file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pog.config.client import load_client
from pog.config.exits import ServerExit
from pog.errors import SettingsError

if TYPE_CHECKING:
    from pathlib import Path

ONE, OTHER = ("sha256//" + 43 * letter + "=" for letter in "AE")


def exit_of(environ: dict[str, str], path: str = "/nonexistent") -> ServerExit:
    (exit,) = load_client(environ, {}, path).settings.exits
    assert isinstance(exit, ServerExit)
    return exit


def test_by_variables() -> None:
    exit = exit_of({"SERVER_ADDR": "a:1", "SERVER_CA_FILE": "/ca.pem", "SERVER_FINGERPRINT": f"{ONE}, {OTHER}\n"})
    assert (exit.ca_file, exit.fingerprint) == ("/ca.pem", (ONE, OTHER))


@pytest.mark.parametrize(("text", "pins"), [(f'"{ONE}"', (ONE,)), (f'["{ONE}", "{OTHER}"]', (ONE, OTHER)), ("[]", ())])
def test_in_the_file(tmp_path: Path, text: str, pins: tuple[str, ...]) -> None:
    path = tmp_path / "config.toml"
    path.write_text(
        f'[[exits]]\nname = "west"\nserver = "a:1"\n[exits.tls]\nca_file = "/ca.pem"\nfingerprint = {text}\n'
    )
    exit = exit_of({}, str(path))
    assert (exit.ca_file, exit.fingerprint) == ("/ca.pem", pins)


def test_what_is_no_pin_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="^SERVER_FINGERPRINT: must be the SHA-256 of a public key"):
        exit_of({"SERVER_ADDR": "a:1", "SERVER_FINGERPRINT": "AB:CD"})
    path = tmp_path / "config.toml"
    path.write_text('[[exits]]\nname = "west"\nserver = "a:1"\ntls.fingerprint = "AB:CD"\n')
    with pytest.raises(SettingsError, match=r"config.toml: exits\[0\].tls.fingerprint: must be the SHA-256"):
        exit_of({}, str(path))
