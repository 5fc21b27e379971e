"""Encoding many texts in calls of a good size, and putting two encoded groups back in order.

Nothing here looks at a token: texts are split by their length, ids are moved by their offsets.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from tokenization.sequences import gathered, offsets_of
from tokenization.tokenizer.engines import Ids, Offsets, TextEncoder

BATCH_CHARACTERS = 8 << 20  # one call of the engine: 8-16 MB is best, 256 MB ran at half the rate


def in_batches(encoder: TextEncoder, texts: list[str]) -> tuple[Ids, Offsets]:
    """Encode in calls of the size that engines like best; the ids are those of one call."""
    parts = [encoder.encode(batch) for batch in _batches(texts)]
    if len(parts) == 1:
        return parts[0]
    lengths = [np.diff(offsets) for _, offsets in parts]
    ids = np.concatenate([ids for ids, _ in parts]) if parts else np.empty(0, np.uint32)
    return ids, offsets_of(np.concatenate(lengths) if parts else np.empty(0, np.int64))


def _batches(texts: list[str]) -> Iterator[list[str]]:
    """Runs of texts of about BATCH_CHARACTERS; a longer text is a batch of its own."""
    if sum(map(len, texts)) <= BATCH_CHARACTERS:
        yield from [texts] if texts else []
        return
    ends = np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts)))
    first = before = 0
    while first < len(texts):
        last = max(first + 1, int(np.searchsorted(ends, before + BATCH_CHARACTERS, side="right")))
        yield texts[first:last] if last - first < len(texts) else texts
        first, before = last, int(ends[last - 1])


def interleave(
    second: NDArray[np.bool_], of_first: tuple[Ids, Offsets], of_second: tuple[Ids, Offsets]
) -> tuple[Ids, Offsets]:
    """Two encoded groups back in the order of their texts; `second[i]` says which group text i is in."""
    place = np.empty(len(second), np.int64)  # of each text among the two groups laid end to end
    place[~second] = np.arange(len(of_first[1]) - 1)
    place[second] = len(of_first[1]) - 1 + np.arange(len(of_second[1]) - 1)
    offsets = np.concatenate([of_first[1], of_second[1][1:] + len(of_first[0])])
    ids = gathered(np.concatenate([of_first[0], of_second[0]]), offsets, place)
    return ids, offsets_of(np.diff(offsets)[place])
