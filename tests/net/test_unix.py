"""Listening at a path."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest

from pog.net.unix import UnixListener

if TYPE_CHECKING:
    from pathlib import Path


def connects(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as user:
        try:
            user.connect(str(path))
        except OSError:
            return False
        return True


def test_the_file_lives_as_long_as_the_listener(tmp_path: Path) -> None:
    path = tmp_path / "pog"
    listener = UnixListener(str(path))
    assert connects(path)
    listener.close()
    assert not path.exists()
    listener.close()


def test_what_a_dead_program_left_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "pog"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    assert not connects(path)
    listener = UnixListener(str(path))
    assert connects(path)
    listener.close()


@pytest.mark.parametrize("backlog", [0, 10])
def test_a_living_program_keeps_its_path(tmp_path: Path, backlog: int) -> None:
    path = tmp_path / "pog"
    with socket.socket(socket.AF_UNIX) as other, socket.socket(socket.AF_UNIX) as waiting:
        other.bind(str(path))
        other.listen(backlog)
        waiting.connect(str(path))  # with a queue of 0 it is full now
        with pytest.raises(OSError, match=f"cannot listen on unix:{path}: a program listens there"):
            UnixListener(str(path))
        other.accept()[0].close()
        assert connects(path)


def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes"
    path.write_text("mine")
    with pytest.raises(OSError, match="no socket"):
        UnixListener(str(path))
    assert path.read_text() == "mine"


def test_a_path_that_another_has_taken_over_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "pog"
    listener = UnixListener(str(path))
    os.unlink(path)
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        listener.close()
        assert connects(path)


@pytest.mark.parametrize(("path", "reason"), [("x" * 200, "too long"), ("no/such/folder", "No such file")])
def test_what_is_wrong_is_said_with_the_path(path: str, reason: str) -> None:
    with pytest.raises(OSError, match=f"cannot listen on unix:{path}: .*{reason}"):
        UnixListener(path)
