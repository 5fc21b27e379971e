"""Memory: what was used and is free again is given back to the system, what stays is not looked at again.

Arrow's pool and the C library keep what they were given for the next who asks; after a stage that held much (two
encoders for a proof, say) that is a hundred megabytes which the next stage pays for. Price: some milliseconds a call.
"""

from __future__ import annotations

import ctypes
import gc
import sys
from functools import lru_cache
from typing import Any


def give_back() -> None:
    """Return what is free: of Arrow where it is loaded, of the C library where it is glibc."""
    arrow: Any = sys.modules.get("pyarrow")
    if arrow is not None:
        arrow.default_memory_pool().release_unused()
    trim = _trim()
    if trim is not None:
        trim(0)


@lru_cache(maxsize=1)
def settle() -> None:
    """Leave what this process has loaded by now out of later collections: modules and their classes live as long as it
    does, and each look at all of them takes 0.1 s, several times a build."""
    gc.freeze()


@lru_cache(maxsize=1)
def _trim() -> Any:
    try:
        return ctypes.CDLL("libc.so.6").malloc_trim
    except (OSError, AttributeError):
        return None
