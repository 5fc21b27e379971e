"""Signatures in recipe order in, the text that stays for each text out.

1. Texts of one signature are one (exact copies, and what differs in case, spaces and punctuation only).
2. Band by band, texts that agree in the whole band form a bucket; each pair of a bucket that does not hang together
   already is compared, and counts as a near duplicate when its signatures agree in `threshold` of their places.
3. Near duplicates of near duplicates hang together (union-find); the first of each component stays.

Guarantees: the result follows from the signatures and the threshold alone; it is the same for any cut into chunks.
Texts without a place in common are never joined, those of one signature always. In a bucket of more than
ALL_PAIRS + 2 members each one is compared with the first and with the ALL_PAIRS before it; pairs left out are counted
in `pairs_skipped`. Price: about 6 s a million texts at 0.8 with a fifth of them copies; 690 bytes a text for 128 places
while that is below MEMORY, else that much on disk and some 60 bytes a text in memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tokenization.duplicates.banded import WHOLE, BandedSignatures, banded
from tokenization.duplicates.bands import Bands, choose_bands
from tokenization.duplicates.components import Components, Places
from tokenization.duplicates.words import Hashes

ALL_PAIRS = 128
MEMORY = 256 << 20  # bytes of signatures and band hashes held: about 390,000 texts of 128 places


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
    pairs_skipped: int  # in buckets too large to compare all of their pairs

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
    the folder for temporary files, needed where the signatures take more than `memory` bytes.
    """
    with banded(signatures, lambda num_perm: choose_bands(threshold, num_perm), memory, scratch) as store:
        search = _Search(store, threshold)
        active = np.arange(store.num_texts) if eligible is None else np.flatnonzero(eligible)
        search.join_equals(active)
        active = active[search.components.roots(active) == active]
        for band in range(store.bands.number):
            search.join_alike(active, band)
        return search.result()


class _Search:
    """One clustering as it goes."""

    def __init__(self, store: BandedSignatures, threshold: float) -> None:
        self.store = store
        self.threshold = threshold
        self.needed = math.ceil(threshold * store.num_perm - 1e-9)  # places that must agree
        self.components = Components(store.num_texts)
        self.compared = self.joined = self.skipped = 0

    def join_equals(self, active: Places) -> None:
        """Texts of one signature are one."""
        members, begins = buckets(self.store.band(WHOLE), active)
        self._join(np.repeat(members[begins[:-1]], np.diff(begins)), members)

    def join_alike(self, active: Places, band: int) -> None:
        """Compare texts that agree in a band: with the first of their bucket, then with their neighbours."""
        members, begins = buckets(self.store.band(band), active)
        self._join(np.repeat(members[begins[:-1]], np.diff(begins)), members)
        for distance in range(1, ALL_PAIRS + 1):
            if distance & (distance - 1) == 0:  # now and then: what hangs together by now needs no more looks
                members, begins = self._still_apart(members, begins)
            place = np.arange(len(members)) - np.repeat(begins[:-1], np.diff(begins))
            later = np.flatnonzero(place > distance)
            if not len(later):
                return
            self._join(members[later - distance], members[later])
        sizes = np.diff(self._still_apart(members, begins)[1])
        beyond = np.maximum(sizes - 1 - ALL_PAIRS, 0)
        self.skipped += int((beyond * (beyond - 1) // 2).sum())

    def _still_apart(self, members: Places, begins: Places) -> tuple[Places, Places]:
        """The buckets that are more than one component."""
        sizes = np.diff(begins)
        roots = self.components.roots(members)
        differs = roots != np.repeat(roots[begins[:-1]], sizes)
        apart = np.unique(np.repeat(np.arange(len(sizes)), sizes)[differs])
        chosen = np.isin(np.repeat(np.arange(len(sizes)), sizes), apart)
        return members[chosen], np.concatenate([[0], np.cumsum(sizes[apart])])

    def _join(self, left: Places, right: Places) -> None:
        apart = self.components.roots(left) != self.components.roots(right)
        left, right = left[apart], right[apart]
        alike = self.store.agreement(left, right) >= self.needed
        self.compared += len(left)
        self.joined += int(alike.sum())
        self.components.unite(left[alike], right[alike])

    def result(self) -> NearDuplicates:
        first = self.components.all_roots()
        moved = np.flatnonzero(first != np.arange(len(first)))
        similarity = np.ones(len(first), np.float32)
        similarity[moved] = self.store.agreement(moved, first[moved]) / np.float32(self.store.num_perm or 1)
        return NearDuplicates(
            first=first,
            similarity=similarity,
            threshold=self.threshold,
            num_perm=self.store.num_perm,
            bands=self.store.bands,
            pairs_compared=self.compared,
            pairs_joined=self.joined,
            pairs_skipped=self.skipped,
        )


def buckets(hashes: Hashes, active: Places) -> tuple[Places, Places]:
    """The active texts that share their hash, hash after hash and in order; and where each bucket begins."""
    hashes = hashes[active]
    order = np.argsort(hashes)  # the fast, unstable one: few of them share a hash, and those are sorted again
    ordered = hashes[order]
    same = ordered[1:] == ordered[:-1]
    shared = np.zeros(len(order), bool)
    shared[1:] |= same
    shared[:-1] |= same
    members, keys = active[order[shared]], ordered[shared]
    again = np.lexsort((members, keys))
    members, keys = members[again], keys[again]
    begins = (
        np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))
        if len(keys)
        else np.zeros(0, np.int64)
    )
    return members, np.append(begins, len(members))
