"""How signatures are cut into bands, and the hash of each band: texts that agree in a whole band are compared.

Two texts of similarity s agree in a band of r places with probability sʳ, and in at least one of b bands with
1 - (1 - sʳ)ᵇ (Leskovec, Rajaraman and Ullman, Mining of Massive Datasets, 3.4). Wider bands bring fewer pairs to
compare and miss more: `choose_bands` takes the widest that still finds RECALL of the pairs at the threshold itself;
more alike ones are missed less.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tokenization.duplicates.words import Hashes, mixed

RECALL = 0.99  # of the pairs exactly at the threshold
MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class Bands:
    """`number` bands of `rows` neighbouring places each."""

    number: int
    rows: int

    def found(self, similarity: float) -> float:
        """The probability that a pair this alike is compared."""
        return float(1 - (1 - similarity**self.rows) ** self.number)


def choose_bands(threshold: float, num_perm: int) -> Bands:
    """The widest bands that find RECALL of the pairs at the threshold; the most bands of one place if none do."""
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold={threshold}: a similarity is above 0 and at most 1")
    if num_perm < 1:
        raise ValueError(f"num_perm={num_perm}: a signature has at least one place")
    choices = (Bands(num_perm // rows, rows) for rows in range(num_perm, 0, -1))
    return next((bands for bands in choices if bands.found(threshold) >= RECALL), Bands(num_perm, 1))


def band_hashes(signatures: NDArray[np.uint32], first: int, rows: int) -> Hashes:
    """One hash of the places first:first+rows of each signature, uint64 [num_signatures]."""
    hashes = np.zeros(len(signatures), np.uint64)
    for place in range(first, first + rows):
        hashes *= MULTIPLIER
        hashes ^= signatures[:, place]
        hashes = mixed(hashes)
    return hashes
