"""Signatures in recipe order in, the text that stays for each text out.

1. Texts of one signature are one (exact copies, and what differs in case, spaces and punctuation only).
2. Band by band, texts that agree in the whole band form a bucket; each pair of a bucket that does not hang together
   already is compared, and counts as a near duplicate when its signatures agree in `threshold` of their places.
3. Near duplicates of near duplicates hang together (union-find); the first of each component stays.

Guarantees: the result follows from the signatures and the threshold: no order of chunks' arrival, no random choice.
Texts without a place in common are never joined, those of one signature always. In a bucket of more than
ALL_PAIRS + 1 members each one is compared with the first and with the ALL_PAIRS before it, and the pairs left out are
counted in `pairs_skipped`. Price: about 3 s a million texts at 0.8, and 560 bytes a text for 128 places. Above
MEMORY of signatures they wait in a scratch file, and the rest takes 50 bytes a text.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tokenization.duplicates.bands import Bands, band_hashes, choose_bands
from tokenization.duplicates.components import Components, Places
from tokenization.duplicates.signature_rows import SignatureRows

ALL_PAIRS = 128
MEMORY = 1 << 30  # bytes of signatures held in memory: about two million texts


@dataclass(frozen=True)
class NearDuplicates:
    """Which text stays for each one, and what was looked at."""

    first: Places  # int64 [num_texts]  the first text of the cluster; itself where it stays
    similarity: NDArray[np.float32]  # [num_texts]  estimated Jaccard similarity to `first`; 1 where it stays
    threshold: float
    num_perm: int
    bands: Bands
    pairs_compared: int
    pairs_joined: int
    pairs_skipped: int  # of buckets too large for all pairs

    @property
    def kept(self) -> NDArray[np.bool_]:
        """Which texts stay, bool [num_texts]."""
        stays: NDArray[np.bool_] = self.first == np.arange(len(self.first))
        return stays

    def clusters(self) -> tuple[Places, Places]:
        """The texts of all clusters of two and more, cluster after cluster, the one that stays first; and where each
        cluster begins, int64 [num_members] and int64 [num_clusters + 1]."""
        sizes = np.bincount(self.first, minlength=len(self.first))
        members = np.flatnonzero(sizes[self.first] > 1)
        members = members[np.argsort(self.first[members], kind="stable")]
        sizes = sizes[sizes > 1]
        return members, np.concatenate([[0], np.cumsum(sizes)])


def cluster(
    signatures: Iterable[NDArray[np.uint32]],
    threshold: float,
    *,
    eligible: NDArray[np.bool_] | None = None,
    memory: int = MEMORY,
    scratch: str | Path | None = None,
) -> NearDuplicates:
    """Find near duplicates among texts whose signatures come in chunks, in recipe order.

    `eligible` (bool [num_texts]) leaves texts out that are not to be compared: they stay by themselves. `scratch` is
    a folder for a temporary file, used where the signatures take more than `memory` bytes.
    """
    with SignatureRows.collected(signatures, memory, scratch) as rows:
        search = _Search(rows, threshold, eligible)
        search.run()
        return search.result()


class _Search:
    """One clustering as it goes."""

    def __init__(self, rows: SignatureRows, threshold: float, eligible: NDArray[np.bool_] | None) -> None:
        self.rows = rows
        self.threshold = threshold
        self.bands = choose_bands(threshold, max(1, rows.num_perm))
        self.needed = int(np.ceil(threshold * rows.num_perm - 1e-9))  # places that must agree
        self.components = Components(len(rows))
        self.active = np.arange(len(rows)) if eligible is None else np.flatnonzero(eligible)
        self.compared = self.joined = self.skipped = 0

    def run(self) -> None:
        if not len(self.active):
            return
        members, begins = buckets(self._hashes(0, self.rows.num_perm), self.active)
        self._compare(members, begins, 1)
        self.active = self.active[self.components.roots(self.active) == self.active]
        for band in range(self.bands.number):
            members, begins = buckets(self._hashes(band * self.bands.rows, self.bands.rows), self.active)
            self._compare(members, begins, ALL_PAIRS)
            self._count_skipped(begins)

    def _hashes(self, first: int, rows: int) -> NDArray[np.uint64]:
        return self.rows.map(lambda part: band_hashes(part, first, rows))[self.active]

    def _compare(self, members: Places, begins: Places, reach: int) -> None:
        """Compare each member with the first of its bucket, then with the `reach` before it."""
        bucket = np.repeat(np.arange(len(begins) - 1), np.diff(begins))
        place = np.arange(len(members)) - begins[bucket]
        self._join(members[begins[bucket]], members)
        for back in range(1, reach):
            later = np.flatnonzero(place > back)  # place `back` itself is the first's neighbour, compared above
            if not len(later):
                return
            self._join(members[later - back], members[later])
            if back & (back - 1) == 0:  # drop what needs no more comparing: buckets that are one component by now
                members, bucket, place = self._still_apart(members, bucket, place)

    def _join(self, left: Places, right: Places) -> None:
        apart = self.components.roots(left) != self.components.roots(right)
        left, right = left[apart], right[apart]
        alike = self.rows.agreement(left, right) >= self.needed
        self.compared += len(left)
        self.joined += int(alike.sum())
        self.components.unite(left[alike], right[alike])

    def result(self) -> NearDuplicates:
        first = self.components.all_roots()
        moved = np.flatnonzero(first != np.arange(len(first)))
        similarity = np.ones(len(first), np.float32)
        similarity[moved] = self.rows.agreement(moved, first[moved]) / np.float32(max(1, self.rows.num_perm))
        return NearDuplicates(
            first,
            similarity,
            self.threshold,
            self.rows.num_perm,
            self.bands,
            self.compared,
            self.joined,
            self.skipped,
        )
