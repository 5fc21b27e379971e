"""What a build directory holds, opened for reading: its manifest and its rows, flat, a batch at a time.

The laws (`verify` and the checks that it calls), the advice, the exports and `diff` read a build through these.
Price: rows are views of the memory-mapped shards; only what a law asks for (`loss_mask`, `begins`) is made.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tokenization import shards
from tokenization.build.layout import read_manifest

SPLITS = ("train", "validation")


@dataclass(frozen=True)
class Build:
    """A build directory, opened for reading."""

    path: Path
    manifest: dict[str, Any]

    @classmethod
    def open(cls, path: Path) -> Build:
        return cls(path, read_manifest(path))

    def batches(self, split: str) -> Iterator[Rows]:
        """The split's rows, flat, a batch at a time."""
        for batch in shards.read_split(self.path / "dataset" / split):
            if batch.num_rows:
                yield Rows.of(batch)

    def set_aside(self) -> int:
        return sum(sum(source["set_aside"].values()) for source in self.manifest["sources"].values())


@dataclass(frozen=True)
class Rows:
    """A batch of rows, flat: row r holds tokens `offsets[r]:[r + 1]`, segments `segment_offsets[r]:[r + 1]`."""

    input_ids: np.ndarray[Any, np.dtype[np.int32]]
    mask_bits: pa.BooleanArray  # `loss_mask` as the file holds it
    offsets: np.ndarray[Any, np.dtype[np.int64]]
    segment_offsets: np.ndarray[Any, np.dtype[np.int64]]
    seq_lens: np.ndarray[Any, np.dtype[np.int32]]
    lengths: np.ndarray[Any, np.dtype[np.int32]]  # of `segments`
    starts: np.ndarray[Any, np.dtype[np.int64]]
    sources: pa.Array
    items: pa.Array
    pretrain: np.ndarray[Any, np.dtype[np.bool_]]  # [num_rows]
    loss_weights: np.ndarray[Any, np.dtype[np.float32]] | None = None  # where there are weights

    @classmethod
    def of(cls, batch: pa.RecordBatch) -> Rows:
        ids, mask = batch.column("input_ids"), batch.column("loss_mask")
        if pa.types.is_fixed_size_list(ids.type):
            offsets = np.arange(batch.num_rows + 1, dtype=np.int64) * ids.type.list_size
        else:
            offsets = ids.offsets.to_numpy().astype(np.int64)
            offsets = offsets - offsets[0]
        segments = batch.column("segments")
        segment_offsets = segments.offsets.to_numpy().astype(np.int64)
        struct = segments.flatten()
        return cls(
            input_ids=ids.flatten().to_numpy(zero_copy_only=False),
            mask_bits=mask.flatten(),
            offsets=offsets,
            segment_offsets=segment_offsets - segment_offsets[0],
            seq_lens=batch.column("seq_lens").flatten().to_numpy(),
            lengths=struct.field("length").to_numpy(),
            starts=struct.field("start").to_numpy(),
            sources=struct.field("source"),
            items=struct.field("item"),
            pretrain=np.asarray(batch.column("kind").to_pylist(), dtype=object) == "pretrain",
            loss_weights=batch.column("loss_weights").flatten().to_numpy()
            if "loss_weights" in batch.schema.names
            else None,
        )

    @cached_property
    def loss_mask(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Which tokens are targets, bool [num_tokens], unpacked for the laws that look at it."""
        flags: np.ndarray[Any, np.dtype[np.bool_]] = self.mask_bits.to_numpy(zero_copy_only=False)
        return flags

    @property
    def is_padding(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Which segments are padding, bool [num_segments]."""
        import pyarrow.compute as pc

        return np.asarray(pc.equal(self.sources, "").to_numpy(zero_copy_only=False))

    @property
    def begins(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """First token of each segment in the batch, int64 [num_segments]; by `seq_lens`, row by row."""
        before = np.cumsum(self.seq_lens, dtype=np.int64) - self.seq_lens
        heads = before[self.segment_offsets[:-1]]
        counts = np.diff(self.segment_offsets)
        begins: np.ndarray[Any, np.dtype[np.int64]]
        begins = before - np.repeat(heads, counts) + np.repeat(self.offsets[:-1], counts)
        return begins
