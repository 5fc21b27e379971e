"""How much text there is, in characters (code points) and bytes of UTF-8, and what became of it on the way.

What was read stands under `read`; every step that makes texts longer or shorter, and every reason that sets some aside,
under its own name, with what it added (negative where it took away). All of them together are what is kept: the ledger
holds that against what the next stage counts for itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

UNITS = ("characters", "bytes")
READ = "read"

Amounts = dict[str, dict[str, int]]  # unit -> name -> what it added


class Moved:
    """Amounts as they are gathered."""

    def __init__(self) -> None:
        self._counted: dict[str, Counter[str]] = {unit: Counter() for unit in UNITS}

    def add(self, name: str, characters: int, size: int) -> None:
        """`name` added so many characters and so many bytes."""
        for unit, count in zip(UNITS, (characters, size), strict=True):
            self._counted[unit][name] += count

    def take(self, name: str, text: str) -> None:
        """`name` took this text away."""
        self.add(name, -len(text), -len(text.encode()))

    def merge(self, others: Iterable[Mapping[str, Mapping[str, int]]]) -> None:
        """What was gathered elsewhere."""
        for amounts in others:
            for unit, counts in amounts.items():
                self._counted[unit].update(counts)

    def amounts(self) -> Amounts:
        """JSON-able, without what moved nothing."""
        return {
            unit: {name: count for name, count in sorted(counts.items()) if count}
            for unit, counts in self._counted.items()
        }


def sizes_of(texts: pa.Array | pa.ChunkedArray) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(characters, bytes) of each text, int64 [num_texts] each; a third of a millisecond a megabyte."""
    characters = pc.cast(pc.utf8_length(texts), pa.int64()).to_numpy()
    return characters, pc.cast(pc.binary_length(texts), pa.int64()).to_numpy()
