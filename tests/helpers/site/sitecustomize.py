"""Stands for the name servers in a process under test: Python imports it at its start from PYTHONPATH.

    anything.hangs.test     never resolves: the thread that asks stays in a C function, as in libc
    anything.good.test      127.0.0.1
    anything.both.test      127.0.0.1 and ::1

Every other name goes to the system. This is Python's socket.getaddrinfo; uvloop has a getaddrinfo of its own in C.
"""

import socket
import time
from typing import Any

_system = socket.getaddrinfo


def _lookup(host: Any, port: Any, *arguments: Any, **options: Any) -> Any:
    name = host if isinstance(host, str) else ""
    if name.endswith(".hangs.test"):
        time.sleep(3600)
    if name.endswith(".good.test"):
        return _system("127.0.0.1", port, *arguments, **options)
    if name.endswith(".both.test"):
        return [info for each in ("127.0.0.1", "::1") for info in _system(each, port, *arguments, **options)]
    return _system(host, port, *arguments, **options)


socket.getaddrinfo = _lookup
