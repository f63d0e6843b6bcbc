"""What a program keeps on disk between two runs: its place, and the token that lets a local program act on it.

The place is the one that is named, or XDG's for state. Where nothing can be written, things live in memory, for as long
as the program does.
"""

from __future__ import annotations

import os
import re
import secrets
from contextlib import suppress

_TOKEN = re.compile(r"[A-Za-z0-9_-]{32,128}")


def state_place(named: str) -> str:
    """The directory for state; it need not exist yet. systemd may give several, separated by colons."""
    if named:
        return named.partition(":")[0]
    import platformdirs

    return platformdirs.user_state_dir("pog", appauthor=False)


def token_path(place: str) -> str:
    return os.path.join(place, "token")


def read_token(place: str) -> str:
    """Raises OSError when there is none that can be read, or none that is only its owner's."""
    with open(token_path(place), encoding="ascii") as file:
        mode = os.fstat(file.fileno()).st_mode
        text = file.read(200).strip()
    if os.name == "posix" and mode & 0o077:
        raise PermissionError(1, "others may read it; it must have mode 600", token_path(place))
    if not _TOKEN.fullmatch(text):
        raise OSError(22, "holds no token", token_path(place))
    return text


def keep_token(place: str) -> str:
    """The token that is kept there, or else a new one, which is kept from now on. Raises OSError."""
    with suppress(FileNotFoundError):
        return read_token(place)
    os.makedirs(place, mode=0o700, exist_ok=True)
    token, path = secrets.token_urlsafe(32), token_path(place)
    # Of several programs that start at a time all get the one that was first.
    temporary = f"{path}.{os.getpid()}.{secrets.token_hex(4)}"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(token + "\n")
        with suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        os.unlink(temporary)
    return read_token(place)
