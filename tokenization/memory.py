"""Memory: what was used and is free again is given back to the system, what stays is not looked at again.

Arrow's pool and the C library keep what they were given for the next who asks; after a stage that held much (two
encoders for a proof, say) that is a hundred megabytes which the next stage pays for. A small process may keep them: to
be given the same pages again costs more than the giving back, a seventh of a small build's time.
Price: some milliseconds a call; nothing where a process only ends (`end_at_once`).
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import resource
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

SMALL = 640 << 20  # bytes resident: a process that holds less keeps what is free


def give_back(above: int = SMALL) -> None:
    """Return what is free, where this process holds more than `above` bytes: of Arrow where it is loaded, of the C
    library where it is glibc."""
    if 0 < resident() < above:
        return
    arrow: Any = sys.modules.get("pyarrow")
    if arrow is not None:
        arrow.default_memory_pool().release_unused()
    trim = _trim()
    if trim is not None:
        trim(0)


def resident() -> int:
    """Bytes of this process in memory; 0 where the system does not tell."""
    try:
        return int(Path("/proc/self/statm").read_bytes().split()[1]) * resource.getpagesize()
    except OSError:
        return 0


@lru_cache(maxsize=1)
def settle() -> None:
    """Leave what this process has loaded by now out of later collections: modules and their classes live as long as it
    does, and each look at all of them takes 0.1 s, several times a build."""
    gc.freeze()


@lru_cache(maxsize=1)
def end_at_once() -> None:
    """Let this process end without the collector's last looks at everything that it made: 1.2 s of a command that
    imported Dagster and had nothing else to do. What it held goes with it anyway."""
    atexit.register(gc.freeze)


@lru_cache(maxsize=1)
def _trim() -> Any:
    try:
        return ctypes.CDLL("libc.so.6").malloc_trim
    except (OSError, AttributeError):
        return None
