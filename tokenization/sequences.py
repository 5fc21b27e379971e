"""Token sequences: the one type in which chat and text meet.

A batch of sequences is three flat arrays and nothing else. Whatever comes after rendering (packing,
mixing, shards) works on these and does not know what a chat is.

Guarantees: `offsets` starts at 0, never falls and ends at `len(input_ids)`; `loss_mask` is unshifted
(1 = this token is a target) and has one entry a token.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
TokenArray = NDArray[np.uint16] | NDArray[np.uint32] | NDArray[np.int32]


@dataclass(frozen=True)
class TokenSequences:
    """Sequences laid end to end; sequence i is `input_ids[offsets[i]:offsets[i + 1]]`."""

    input_ids: TokenArray  # uint16 | uint32 [num_tokens]
    loss_mask: BoolArray  # bool [num_tokens]  True = this token is a target, unshifted
    offsets: IntArray  # int64 [num_sequences + 1]

    def __post_init__(self) -> None:
        if len(self.offsets) < 1 or self.offsets[0] != 0 or self.offsets[-1] != len(self.input_ids):
            raise ValueError("offsets must start at 0 and end at the number of tokens")
        if len(self.loss_mask) != len(self.input_ids):
            raise ValueError(f"{len(self.loss_mask)} mask entries for {len(self.input_ids)} tokens")
        if len(self.offsets) > 1 and bool((np.diff(self.offsets) < 0).any()):
            raise ValueError("offsets must not fall")

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> IntArray:
        """Tokens in each sequence, int64 [num_sequences]."""
        return np.diff(self.offsets)

    def chosen(self, numbers: IntArray) -> TokenSequences:
        """These sequences in this order."""
        ids, mask = (gathered(values, self.offsets, numbers) for values in (self.input_ids, self.loss_mask))
        return TokenSequences(ids, mask, offsets_of(self.lengths[numbers]))


def storage_dtype(largest_id: int) -> np.dtype[np.uint16] | np.dtype[np.uint32]:
    """uint16 where the largest id (added tokens included) fits, else uint32."""
    if largest_id < 0:
        raise ValueError(f"a token id cannot be {largest_id}")
    return np.dtype(np.uint16) if largest_id <= np.iinfo(np.uint16).max else np.dtype(np.uint32)


def offsets_of(lengths: NDArray[np.integer]) -> IntArray:
    """Running sum with a leading 0: int64 [len(lengths) + 1]."""
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def others_than(rows: IntArray, count: int) -> IntArray:
    """The numbers below `count` that are not among these, ascending."""
    is_other = np.ones(count, bool)
    is_other[rows] = False
    return np.flatnonzero(is_other)


def gathered(values: NDArray[Any], offsets: IntArray, pieces: IntArray) -> NDArray[Any]:
    """Pieces of a flat array end to end: `values[offsets[p]:offsets[p + 1]]` for one p of `pieces` after another.

    Each piece is copied as it stands, by Arrow's gather of byte strings: a quarter of the time of an array of positions
    with pieces of 45 tokens, and no 8 bytes a token beside it.
    """
    import pyarrow as pa

    flat = np.ascontiguousarray(values)
    begins = np.ascontiguousarray(offsets, np.int64) * flat.itemsize
    buffers = [None, pa.py_buffer(begins), pa.py_buffer(flat.view(np.uint8))]
    column = pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(begins) - 1, buffers)
    taken = column.take(pa.array(pieces))
    edges = np.frombuffer(taken.buffers()[1], np.int64)[: len(pieces) + 1] // flat.itemsize
    content = taken.buffers()[2]
    if content is None:
        return np.zeros(0, flat.dtype)
    return np.frombuffer(content, flat.dtype, int(edges[-1]))
