"""Concatenation: sequences laid end to end and cut every `window` tokens.

The remainder is one partly filled window at the end, for the whole set and not one a file or batch; nothing
is dropped. A sequence that crosses a cut goes on in the next window as a segment of its own.

    lengths 5, 9, 2, window 6      │0 0 0 0 0 1│1 1 1 1 1 1│1 1 2 2 · ·│

Guarantees: each token is placed once, in order; every window is full but the last; the plan follows from
the lengths alone, however they were gathered. Price: 20 to 100 ns and 90 bytes a sequence at most.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from tokenization.sequences import offsets_of
from tokenization.windows.plan import WindowPlan, checked_lengths, checked_window


def pack_concat(lengths: ArrayLike, window: int) -> WindowPlan:
    """Exactly full windows in the order of the sequences, the remainder last; empty sequences are skipped."""
    window = checked_window(window)
    whole = checked_lengths(lengths)
    kept = np.flatnonzero(whole)
    bounds = offsets_of(whole[kept])  # in the stream of all tokens; so are cuts
    cuts = np.arange(0, bounds[-1], window, dtype=np.int64)  # where each window begins

    begun = np.searchsorted(bounds, cuts)  # how many sequences begin before each cut
    inside = bounds[begun] != cuts  # a cut between two sequences adds no segment
    cut_before = np.cumsum(inside) - inside
    first_segment = begun + cut_before
    cut, at, goes_on = cuts[inside], begun[inside], first_segment[inside]

    begins = np.insert(bounds, at, cut)  # of all segments, and the end of the last
    start = np.zeros(len(begins) - 1, np.int64)
    start[goes_on] = cut - bounds[at - 1]
    return WindowPlan(
        sequence=np.insert(kept, at, kept[at - 1]),
        start=start,
        length=np.diff(begins).astype(np.int32),
        offsets=np.append(first_segment, len(start)),
        window=window,
    )
