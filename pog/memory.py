"""Keeps the memory of read buffers in the process.

uvloop gives each read as a bytes object of up to 256,000 bytes. glibc returns such pieces to the kernel as soon as they
are freed, and every one of the next comes back as 60 page faults: measured, 180,000 faults a gigabyte, which is nearly
half of a bulk tunnel's time.
"""

from __future__ import annotations

import ctypes
import sys

# malloc.h, mallopt(3).
_M_TRIM_THRESHOLD = -1
_M_TOP_PAD = -2
_M_MMAP_THRESHOLD = -3

# Above the size of a read.
_MMAP_BYTES = 1024 * 1024
# What a process may keep that it does not use: two windows of a tunnel at full speed.
_TRIM_BYTES = 8 * 1024 * 1024
_PAD_BYTES = 1024 * 1024


def keep_freed_memory() -> None:
    """Tells malloc so, where it is glibc's; elsewhere nothing happens."""
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for option, value in (
            (_M_MMAP_THRESHOLD, _MMAP_BYTES),
            (_M_TRIM_THRESHOLD, _TRIM_BYTES),
            (_M_TOP_PAD, _PAD_BYTES),
        ):
            mallopt(option, value)
