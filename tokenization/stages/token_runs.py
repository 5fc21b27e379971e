"""From token objects to where tokens belong: the segments of a batch of windows, read or gathered object by object.

Segments that follow each other in their object and in the batch are one run: text laid end to end is about one run a
window. Long runs are read from the object's file to where they belong; short ones (best fit) are gathered as byte
strings, first from each object that the batch touches, then into the order of the batch. Nothing stays mapped, so
memory does not follow the tokens.

Price: 7 us a run of 4096 tokens that is read, 24 us an object that is opened, some ns a token that is gathered.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tokenization.errors import BuildError
from tokenization.sequences import IntArray, TokenArray, gathered, offsets_of
from tokenization.stages.tables import mapped

LONG_RUN = 512  # tokens: a read costs some us whatever its length, a gather some ns a token


@dataclass(frozen=True)
class Runs:
    """Tokens that stand together in an object and in the batch: int64 [num_runs] each."""

    begin: NDArray[np.int64]  # in the object
    place: NDArray[np.int64]  # in the batch
    length: NDArray[np.int64]

    def chosen(self, where: NDArray[np.int64] | slice) -> Runs:
        """These of them."""
        return Runs(self.begin[where], self.place[where], self.length[where])

    def follow(self) -> NDArray[np.bool_]:
        """Whether each but the first begins where the one before it ends, in both places."""
        ends, places = self.begin + self.length, self.place + self.length
        both: NDArray[np.bool_] = (self.begin[1:] == ends[:-1]) & (self.place[1:] == places[:-1])
        return both

    def joined(self, heads: NDArray[np.int64]) -> Runs:
        """One for each of those at `heads` and all that follow it."""
        return Runs(self.begin[heads], self.place[heads], np.add.reduceat(self.length, heads))


def fill(
    path_of: Callable[[int], Path],
    objects: NDArray[np.int64],
    segments: Runs,
    ids: TokenArray,
    mask: NDArray[np.bool_],
) -> None:
    """Put the segments, each of its object (int64 [num_segments]), where they belong, and for chats their masks; other
    masks stay."""
    if not len(objects):
        return
    order = np.argsort(objects, kind="stable")
    number, ordered = objects[order], segments.chosen(order)
    changes = number[1:] != number[:-1]
    heads = _heads(changes | ~ordered.follow())
    runs = ordered.joined(heads)
    firsts = np.append(_heads(changes), len(order))  # of each object, among its segments
    run_firsts = np.searchsorted(heads, firsts)
    tokens = np.add.reduceat(ordered.length, firsts[:-1])
    is_long = tokens >= LONG_RUN * np.diff(run_firsts)
    short: dict[bool, list[tuple[Path, NDArray[np.int64]]]] = {False: [], True: []}
    for k, value in enumerate(number[firsts[:-1]].tolist()):
        path = path_of(value)
        dtype, has_mask = object_facts(path)
        assert dtype == ids.dtype, f"{path} holds {dtype}, others {ids.dtype}: objects of two tokenizers"
        if not is_long[k]:
            short[has_mask].append((path, order[firsts[k] : firsts[k + 1]]))
            continue
        own = runs.chosen(slice(run_firsts[k], run_firsts[k + 1]))
        _read(path / "ids.bin", own, ids)
        if has_mask:
            _read(path / "mask.bin", own, mask)
    for has_mask, pieces in short.items():
        if pieces:
            _gather("ids.bin", pieces, segments, ids)
            if has_mask:
                _gather("mask.bin", pieces, segments, mask)


def _heads(begins_anew: NDArray[np.bool_]) -> IntArray:
    """The first place, and every one that begins anew after the one before it."""
    return np.concatenate([[0], np.flatnonzero(begins_anew) + 1])


def _gather(
    file: str,
    objects: list[tuple[Path, NDArray[np.int64]]],
    segments: Runs,
    out: NDArray[Any],
) -> None:
    """Short segments of these objects: what the batch wants of each, then all of it in the order of the batch."""
    taken: list[NDArray[Any]] = []
    lengths: list[NDArray[np.int64]] = []
    number = np.full(len(segments.begin), -1, np.int64)
    read = 0
    for path, unordered in objects:
        where = unordered[np.argsort(segments.begin[unordered], kind="stable")]
        begin, length = segments.begin[where], segments.length[where]
        edges = np.stack([begin, begin + length], axis=1).ravel()
        taken.append(gathered(mapped(path / file, out.dtype), edges, 2 * np.arange(len(begin))))
        lengths.append(length)
        number[where] = read + np.arange(len(where))
        read += len(where)
    wanted = np.flatnonzero(number >= 0)
    whole = gathered(np.concatenate(taken), offsets_of(np.concatenate(lengths)), number[wanted])
    there = segments.chosen(wanted)
    placed = Runs(offsets_of(there.length)[:-1], there.place, there.length)
    runs = placed.joined(_heads(~placed.follow()))
    for start, place, count in zip(
        runs.begin.tolist(), runs.place.tolist(), runs.length.tolist(), strict=True
    ):
        out[place : place + count] = whole[start : start + count]


def _read(path: Path, runs: Runs, out: NDArray[Any]) -> None:
    """Long runs: each read from the file to its place."""
    width, content = out.itemsize, out.view(np.uint8).data
    with open(path, "rb", buffering=0) as file:
        number = file.fileno()
        for begin, place, length in zip(
            (runs.begin * width).tolist(),
            (runs.place * width).tolist(),
            (runs.length * width).tolist(),
            strict=True,
        ):
            if os.preadv(number, [content[place : place + length]], begin) != length:
                raise BuildError(
                    f"{path} ends before token {(begin + length) // width}; remove the object and build again"
                )


@lru_cache(maxsize=1 << 16)
def object_facts(path: Path) -> tuple[np.dtype[Any], bool]:
    """How a token object's ids are stored, and whether it has a mask, as chats do."""
    import orjson

    meta = orjson.loads((path / "meta.json").read_bytes())
    return np.dtype(meta["dtype"]), (path / "mask.bin").exists()
