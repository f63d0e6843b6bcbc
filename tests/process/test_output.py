"""Lines to a stream whose reader has stopped, is gone, or is no pipe at all."""

from __future__ import annotations

import io
import os
import pty
import socket
import termios
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

import pytest

from pog.process import output
from pog.process.output import Output

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LINE = "x" * 99 + "\n"
# More than one write of a pipe takes.
LONG = "y" * 200_000 + "\n"


@contextmanager
def pipe() -> Iterator[tuple[int, TextIO]]:
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as stream:
        yield reader, stream
    os.close(reader)


@contextmanager
def unix_socket() -> Iterator[tuple[int, TextIO]]:
    """As systemd gives it to a service."""
    ours, theirs = socket.socketpair()
    with ours, theirs, os.fdopen(os.dup(theirs.fileno()), "w") as stream:
        yield ours.fileno(), stream


@contextmanager
def terminal() -> Iterator[tuple[int, TextIO]]:
    reader, writer = pty.openpty()
    attributes = termios.tcgetattr(writer)
    attributes[1] &= ~termios.OPOST  # a line end stays one byte
    termios.tcsetattr(writer, termios.TCSANOW, attributes)
    with os.fdopen(writer, "w") as stream:
        yield reader, stream
    os.close(reader)


KINDS = {"pipe": pipe, "socket": unix_socket, "terminal": terminal}


def read_all(reader: int) -> str:
    os.set_blocking(reader, False)
    received = b""
    try:
        while data := os.read(reader, 1 << 16):
            received += data
    except BlockingIOError:
        pass
    return received.decode()


@pytest.fixture(params=["own descriptor", "poll"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe of another user's cannot be opened once more."""
    if request.param == "poll":
        monkeypatch.setattr(output, "_to_own_descriptor", lambda *_: None)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("kind", KINDS)
def test_what_does_not_fit_is_dropped_and_later_lines_come_whole(kind: str) -> None:
    with KINDS[kind]() as (reader, stream):
        lines = Output(lambda: stream)
        taken = 0
        while lines.write(f"{taken:06}{LINE}"):
            taken += 1
        assert not lines.write(LINE)
        assert (lines.dropped, taken > 10) == (2, True)
        received = read_all(reader).splitlines()
        while lines.write("again\n") is False:  # a pipe frees pages, a terminal takes a moment
            received += read_all(reader).splitlines()
        received = "\n".join(received).replace("\nagain", "").split("\n")
        assert received[: taken - 1] == [f"{number:06}{LINE[:-1]}" for number in range(taken - 1)]


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_the_rest_of_a_long_line_comes_before_the_next(kind: str) -> None:
    with KINDS[kind]() as (reader, stream):
        lines = Output(lambda: stream)
        written = 0
        while lines.write(LONG):
            written += 1
        received = read_all(reader)
        while not lines.write("next\n"):
            received += read_all(reader)
        received += read_all(reader)
        assert received == LONG * written + "next\n"


def test_nobody_else_sees_that_we_do_not_wait() -> None:
    """A shell would be surprised by O_NONBLOCK on its own terminal."""
    with pipe() as (_, stream):
        Output(lambda: stream).write(LINE)
        assert os.get_blocking(stream.fileno())


def test_our_own_descriptor_goes_with_the_stream() -> None:
    before = set(os.listdir("/proc/self/fd"))
    with pipe() as (_, stream):
        lines = Output(lambda: stream)
        lines.write(LINE)
        del lines
    assert set(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_a_reader_that_is_gone(kind: str) -> None:
    with KINDS[kind]() as (reader, stream):
        lines = Output(lambda: stream)
        assert lines.write(LINE)
        os.dup2(os.open(os.devnull, os.O_RDONLY), reader)
        with pytest.raises(BrokenPipeError):
            lines.write(LINE)


@pytest.mark.parametrize("path", ["file", "/dev/full", "/dev/null"])
def test_files(path: str, tmp_path: Path) -> None:
    with open(tmp_path / path, "w") as stream:
        lines = Output(lambda: stream)
        if path == "/dev/full":
            with pytest.raises(OSError, match="No space left"):
                lines.write(LONG)
        else:
            assert lines.write(LONG) and lines.write(LINE)
    if path == "file":
        assert (tmp_path / path).read_text() == LONG + LINE


def test_a_closed_stream() -> None:
    with pipe() as (_, stream):
        lines = Output(lambda: stream)
        lines.write(LINE)
        stream.close()
        with pytest.raises(ValueError, match="closed"):
            lines.write(LINE)
        with pytest.raises(ValueError, match="closed"):
            Output(lambda: stream).write(LINE)


@pytest.mark.parametrize(
    ("encoding", "written"),
    [
        ("utf-8", "Zürich 東京 \\udce9\n"),
        ("latin-1", "Zürich \\u6771\\u4eac \\udce9\n"),
        ("ascii", "Z\\xfcrich \\u6771\\u4eac \\udce9\n"),
        ("cp1252", "Zürich \\u6771\\u4eac \\udce9\n"),
    ],
)
def test_what_the_encoding_does_not_have_is_escaped(encoding: str, written: str) -> None:
    reader, writer = os.pipe()
    with os.fdopen(writer, "w", encoding=encoding) as stream, os.fdopen(reader, encoding=encoding) as lines:
        assert Output(lambda: stream).write("Zürich 東京 \udce9\n")
        assert lines.readline() == written


def test_a_stream_without_a_descriptor_and_one_that_is_exchanged() -> None:
    streams = [io.StringIO(), io.StringIO()]
    current = streams[0]
    lines = Output(lambda: current)
    lines.write("one\n")
    current = streams[1]
    lines.write("two\n")
    assert [stream.getvalue() for stream in streams] == ["one\n", "two\n"]
