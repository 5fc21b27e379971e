"""All signatures and their band hashes, in memory while they fit, else in two scratch files.

Guarantees: the same values wherever they lie; files are gone at the end, also after an error. Price: 4·num_perm +
8·(bands + 1) bytes a text, in memory or on disk; from disk, some 20 MB are read at a time and nothing is mapped.
"""

from __future__ import annotations

import os
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from tokenization.duplicates.bands import Bands, band_hashes
from tokenization.duplicates.components import Places
from tokenization.duplicates.words import Hashes

Signatures = NDArray[np.uint32]  # uint32 [num_texts, num_perm]

ROWS = 32 << 10  # signatures hashed at once
PAIRS = 4 << 10  # signatures compared at once
WHOLE = -1  # the band that is the whole signature


class BandedSignatures:
    """Signatures to compare, and the hashes of their bands to find what to compare."""

    def __init__(self, rows: Signatures | Path, num_texts: int, num_perm: int, bands: Bands) -> None:
        self._rows = rows
        self._hashes: NDArray[np.uint64] | BinaryIO | None = None
        self.num_texts = num_texts
        self.num_perm = num_perm
        self.bands = bands

    def hash_into(self, hashes: NDArray[np.uint64] | BinaryIO) -> None:
        """Hash every band of every signature in one pass; [bands + 1, num_texts], the whole signature last."""
        for first in range(0, self.num_texts, ROWS):
            rows = self._slice(first, min(first + ROWS, self.num_texts))
            for band in range(self.bands.number + 1):
                whole = band == self.bands.number
                values = (
                    band_hashes(rows, 0, self.num_perm)
                    if whole
                    else band_hashes(rows, band * self.bands.rows, self.bands.rows)
                )
                if isinstance(hashes, np.ndarray):
                    hashes[band, first : first + len(rows)] = values
                else:
                    os.pwrite(hashes.fileno(), values.tobytes(), (band * self.num_texts + first) * 8)
        self._hashes = hashes

    def band(self, band: int) -> Hashes:
        """The hash of this band of each signature (of the whole for WHOLE), uint64 [num_texts]."""
        band %= self.bands.number + 1
        if isinstance(self._hashes, np.ndarray):
            hashes: Hashes = self._hashes[band]
            return hashes
        assert self._hashes is not None
        start = band * self.num_texts * 8
        return np.fromfile(self._hashes.name, np.uint64, self.num_texts, offset=start)

    def agreement(self, left: Places, right: Places) -> Places:
        """In how many places signatures left[i] and right[i] agree, int64 [len(left)]."""
        counts = np.empty(len(left), np.int64)
        for first in range(0, len(left), PAIRS):
            part = slice(first, first + PAIRS)
            if isinstance(self._rows, np.ndarray):
                same = self._rows[left[part]] == self._rows[right[part]]
            else:
                needed, at = np.unique(np.concatenate([left[part], right[part]]), return_inverse=True)
                rows, half = self._read(needed), len(at) // 2
                same = rows[at[:half]] == rows[at[half:]]
            counts[part] = np.count_nonzero(same, axis=1)
        return counts

    def _slice(self, first: int, stop: int) -> Signatures:
        if isinstance(self._rows, np.ndarray):
            return self._rows[first:stop]
        rows = np.fromfile(
            self._rows, np.uint32, (stop - first) * self.num_perm, offset=first * 4 * self.num_perm
        )
        return rows.reshape(-1, self.num_perm)

    def _read(self, needed: Places) -> Signatures:
        """These signatures (ascending) from the file, run by run: a map of it would bring in whole neighbourhoods."""
        assert isinstance(self._rows, Path)
        rows = np.empty((len(needed), self.num_perm), np.uint32)
        runs = np.flatnonzero(np.diff(needed, prepend=-2, append=self.num_texts + 1) != 1).tolist()
        with open(self._rows, "rb", buffering=0) as file:
            for first, stop in pairwise(runs):
                file.seek(int(needed[first]) * 4 * self.num_perm)
                file.readinto(rows[first:stop].data)
        return rows


@contextmanager
def banded(
    chunks: Iterable[Signatures],
    choose: Callable[[int], Bands],
    memory: int,
    scratch: str | Path | None = None,
) -> Iterator[BandedSignatures]:
    """Signatures that come in chunks, with the bands that `choose` picks for their number of places."""
    held: deque[Signatures] = deque()
    num_texts = num_perm = 0
    bands: Bands | None = None
    with ExitStack() as stack:
        folder: Path | None = None
        file: BinaryIO | None = None
        for chunk in chunks:
            num_perm, bands = _same_places(chunk, num_perm), bands or choose(chunk.shape[1])
            num_texts += len(chunk)
            held.append(chunk)
            if num_texts * (4 * num_perm + 8 * (bands.number + 1)) > memory:
                if folder is None or file is None:
                    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=scratch)))
                    file = stack.enter_context(open(folder / "signatures", "wb"))
                while held:
                    held.popleft().astype("<u4", copy=False).tofile(file)
        if folder is None or file is None:
            bands = bands or choose(1)
            store = BandedSignatures(_joined(held, num_texts, num_perm), num_texts, num_perm, bands)
            store.hash_into(np.empty((bands.number + 1, num_texts), np.uint64))
        else:
            file.flush()
            assert bands is not None
            store = BandedSignatures(folder / "signatures", num_texts, num_perm, bands)
            store.hash_into(stack.enter_context(open(folder / "hashes", "wb")))
        yield store


def _same_places(chunk: Signatures, num_perm: int) -> int:
    places = int(chunk.shape[1])
    if num_perm not in (0, places):
        raise ValueError(f"signatures of {num_perm} and of {places} places cannot be compared")
    return places


def _joined(held: deque[Signatures], num_texts: int, num_perm: int) -> Signatures:
    """One array; each chunk is let go once it is copied."""
    rows = np.empty((num_texts, num_perm), np.uint32)
    at = 0
    while held:
        chunk = held.popleft()
        rows[at : at + len(chunk)] = chunk
        at += len(chunk)
    return rows
