"""A batch of windows with what other trainers want beside them.

input_ids     a  b  c  d | w  x  y  z
loss_mask     0  0  1  1 | 0  1  1  1       this token is a target
labels        .  .  c  d | .  x  y  z       the same, unshifted, with -100 for a dot: who reads it shifts it
position_ids  0  1  2  3 | 0  1  2  3       restart in each segment, padding too
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tokenization import shards
from tokenization.build.contents import Rows

IGNORED = -100  # the label that no loss counts, as in torch's cross entropy


@dataclass(frozen=True)
class Windows:
    """Some rows of a split; `rows` has them flat."""

    batch: pa.RecordBatch  # as the dataset holds them
    rows: Rows

    @cached_property
    def labels(self) -> NDArray[np.int32]:
        """int32 [num_tokens]: the token where it is a target, else -100; unshifted."""
        return np.where(self.rows.loss_mask, self.rows.input_ids, np.int32(IGNORED)).astype(np.int32)

    @cached_property
    def position_ids(self) -> NDArray[np.int32]:
        """int32 [num_tokens]: 0, 1, 2, … from the start of each segment."""
        lengths = self.rows.seq_lens
        places = np.arange(len(self.rows.input_ids), dtype=np.int64)
        return (places - np.repeat(self.rows.begins, lengths)).astype(np.int32)

    def of_tokens(self, values: NDArray[np.generic]) -> pa.Array:
        """A list column with one value a token."""
        return pa.ListArray.from_arrays(pa.array(self.rows.offsets.astype(np.int32)), pa.array(values))

    def of_segments(self, values: NDArray[np.generic]) -> pa.Array:
        """A list column with one value a segment."""
        offsets = pa.array(self.rows.segment_offsets.astype(np.int32))
        return pa.ListArray.from_arrays(offsets, pa.array(values))


def windows_of(shard: Path) -> Iterator[Windows]:
    """One shard's windows, a batch at a time."""
    for batch in shards.read_stream(shard):
        if batch.num_rows:
            yield Windows(batch, Rows.of(batch))
