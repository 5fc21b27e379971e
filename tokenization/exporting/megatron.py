"""`megatron`: memory-mapped .bin/.idx pairs, and the packed Parquet that Megatron-Bridge trains chats on.

A pair is the layout of Megatron-Core's IndexedDataset. The .bin file is values end to end; the .idx file is

    9 bytes "MMIDIDX\\0\\0" · uint64 version 1 · uint8 dtype · uint64 sequences · uint64 document borders
    int32 length of each sequence · int64 byte at which it begins · int64 borders: first sequence of each document, and
    the number of sequences

all little-endian. Here a sequence is a segment and a document is a window; padding is left out, since Megatron pads for
itself. `tokens` has ids; `loss_mask` beside it has one uint8 for each of them, in the same sequences: Megatron's
GPTDataset reads tokens alone and trains on all of them, so by itself it is for texts.

The packed Parquet has a row a window: input_ids, seq_start_id (where segments begin) and loss_mask. Its reader feeds
segment[:-1], labels segment[1:] and takes loss_mask[:-1], so there the mask of a token says whether the *next* one is a
target: this file's mask is shifted by one within each segment, with 0 last.

Price: 20 bytes of memory a segment for an index.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tokenization.exporting.task import Counted, Task
from tokenization.exporting.windows import Windows
from tokenization.sequences import offsets_of

MAGIC = b"MMIDIDX\x00\x00"
VERSION = 1
CODES = {"uint8": 1, "int32": 4, "uint16": 8}
MOST_UINT16 = 65499  # larger ids are stored as int32
PACKED = pa.schema(
    [
        ("input_ids", pa.list_(pa.int32())),
        ("seq_start_id", pa.list_(pa.int32())),
        ("loss_mask", pa.list_(pa.int8())),
    ]
)


def write_megatron(task: Task) -> Counted:
    """Both forms of a split, in one pass."""
    dtype = np.dtype(np.uint16 if task.largest_id <= MOST_UINT16 else np.int32)
    counted = Counted()
    index = _Index()
    with open(task.folder / "tokens.bin", "wb") as tokens, open(task.folder / "loss_mask.bin", "wb") as mask:
        for number, shard in enumerate(task.shards):
            path = task.folder / f"packed-{number:05d}.idx.parquet"
            with pq.ParquetWriter(path, PACKED, compression="zstd", use_dictionary=False) as packed:
                for windows in counted.following(shard):
                    rows = _Unpadded.of(windows)
                    _append(tokens, rows.input_ids.astype(dtype))
                    _append(mask, rows.loss_mask.astype(np.uint8))
                    index.add(rows.lengths, np.diff(rows.segment_offsets))
                    packed.write_batch(rows.packed(), row_group_size=windows.batch.num_rows)
    index.write(task.folder / "tokens.idx", dtype)
    index.write(task.folder / "loss_mask.idx", np.dtype(np.uint8))
    return counted


def _append(file: BinaryIO, values: NDArray[Any]) -> None:
    file.write(np.ascontiguousarray(values).data)


@dataclass
class _Index:
    """Lengths of sequences and borders of documents, gathered batch by batch."""

    lengths: list[NDArray[np.int32]] = field(default_factory=list)
    counts: list[NDArray[np.int64]] = field(default_factory=list)  # sequences of each document

    def add(self, lengths: NDArray[np.int32], counts: NDArray[np.int64]) -> None:
        self.lengths.append(lengths)
        self.counts.append(counts)

    def write(self, path: Path, dtype: np.dtype[Any]) -> None:
        lengths = np.concatenate(self.lengths).astype("<i4")
        begins = (offsets_of(lengths.astype(np.int64))[:-1] * dtype.itemsize).astype("<i8")
        borders = offsets_of(np.concatenate(self.counts)).astype("<i8")
        with open(path, "wb") as file:
            file.write(MAGIC)
            file.write(struct.pack("<QBQQ", VERSION, CODES[dtype.name], len(lengths), len(borders)))
            for values in (lengths, begins, borders):
                _append(file, values)


@dataclass(frozen=True)
class _Unpadded:
    """Windows without their padding, flat."""

    input_ids: NDArray[np.int32]
    loss_mask: NDArray[np.bool_]
    lengths: NDArray[np.int32]  # [num_segments]
    offsets: NDArray[np.int64]  # [num_rows + 1]
    segment_offsets: NDArray[np.int64]  # [num_rows + 1]

    @classmethod
    def of(cls, windows: Windows) -> _Unpadded:
        rows = windows.rows
        kept = ~rows.is_padding
        of_tokens = np.repeat(kept, rows.seq_lens)
        return cls(
            rows.input_ids[of_tokens],
            rows.loss_mask[of_tokens],
            rows.seq_lens[kept],
            offsets_of(of_tokens.astype(np.int64))[rows.offsets],
            offsets_of(kept.astype(np.int64))[rows.segment_offsets],
        )

    def packed(self) -> pa.RecordBatch:
        """As Megatron-Bridge reads it; its mask is that of the token behind."""
        begins = offsets_of(self.lengths.astype(np.int64))
        mask = np.append(self.loss_mask[1:], False)
        mask[begins[1:] - 1] = False
        heads = np.repeat(self.offsets[:-1], np.diff(self.segment_offsets))
        offsets, segments = (pa.array(each.astype(np.int32)) for each in (self.offsets, self.segment_offsets))
        columns = [
            pa.ListArray.from_arrays(offsets, pa.array(self.input_ids)),
            pa.ListArray.from_arrays(segments, pa.array((begins[:-1] - heads).astype(np.int32))),
            pa.ListArray.from_arrays(offsets, pa.array(mask.astype(np.int8))),
        ]
        return pa.RecordBatch.from_arrays(columns, schema=PACKED)
