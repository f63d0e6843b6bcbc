"""Settings of the process's memory that speed depends on.

uvloop gives each read as a bytes object of up to 256,000 bytes. glibc returns such pieces to the kernel as soon as they
are freed, and every one of the next comes back as 60 page faults: measured, 180,000 faults a gigabyte, which is nearly
half of a bulk tunnel's time.

Python looks for cycles after every 700 new objects, which a few tunnels make while they open: most of what it looks at
is alive, and is looked at again and again. Less often, most is gone by itself before: a tenth of the time to open one.
"""

from __future__ import annotations

import ctypes
import gc
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

# New objects between two looks for cycles, at the youngest of them; the older ones after this number of looks.
_COLLECT_AFTER = (20_000, 20, 50)


def tune_memory() -> None:
    """For a process that carries tunnels, when it has loaded what it needs. The second time nothing happens."""
    if gc.get_threshold() == _COLLECT_AFTER:
        return
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECT_AFTER)
    _keep_freed_memory()


def _keep_freed_memory() -> None:
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
