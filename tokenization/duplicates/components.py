"""Union-find over columns of pairs: which items hang together, by any chain of pairs.

An item's *root* is the first item of its component, so that who stays needs no further decision.

Guarantees: the roots depend on the set of pairs alone, not on their order or on how they were fed. Price: some 50 ns
a pair, 8 bytes an item.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Places = NDArray[np.int64]


class Components:
    """Items 0 … num_items-1, at first each by itself."""

    def __init__(self, num_items: int) -> None:
        self._parent: Places = np.arange(num_items)  # int64 [num_items]  never above the item itself

    def roots(self, items: Places) -> Places:
        """The first item of each one's component, int64 [len(items)]."""
        while True:
            found = self._parent[items]
            above = self._parent[found]
            if np.array_equal(above, found):
                return found
            self._parent[items] = above  # ways are halved as they are walked: a chain of n takes log n rounds
            self._parent[found] = self._parent[above]

    def unite(self, left: Places, right: Places) -> None:
        """Join the components of left[i] and right[i], for each i."""
        while len(left):
            one, other = self.roots(left), self.roots(right)
            apart = one != other
            left, right = one[apart], other[apart]
            # every root that is above its partner goes below the first of its partners; the rest, next time round
            np.minimum.at(self._parent, np.maximum(left, right), np.minimum(left, right))

    def all_roots(self) -> Places:
        """The first item of each item's component, int64 [num_items]."""
        return self.roots(np.arange(len(self._parent)))
