"""Where bytes of a kind stand in a long buffer, looked for piece by piece.

A comparison of a whole block makes a temporary as long as the block, in memory that the system may have to find anew:
8 MB of it cost more than the comparison. A piece and its temporaries stay in the core's cache instead.

Guarantees: the same places whatever the size of a piece. Price: 0.1 ms a MB where the bytes are rare, without the GIL.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from tokenization.sequences import BoolArray, IntArray

PIECE = 256 << 10  # bytes: a quarter of a core's second cache, which also holds what is made of them


def places_where(
    data: NDArray[np.uint8], is_sought: Callable[[NDArray[np.uint8]], BoolArray], piece: int = PIECE
) -> IntArray:
    """Where `is_sought`, asked of one piece after another (byte by byte), says yes: int64, ascending."""
    found = [
        np.flatnonzero(is_sought(data[first : first + piece])) + first for first in range(0, len(data), piece)
    ]
    return np.concatenate(found) if found else np.zeros(0, np.int64)
