"""Shards: the columns of a dataset, and its files as Hugging Face `datasets` opens them.

A split is a folder of Arrow IPC *stream* files with the metadata that `datasets.load_from_disk` reads; the same files
open in pyarrow, polars and DuckDB. This is the one home of the columns:

    input_ids    int32 [window]      fixed length (a list where the layout is `rows`)
    loss_mask    bool  [window]      1 = this token is a target, unshifted
    seq_lens     list<int32>         adds up to the row's length; padding is a last segment of its own
    segments     list<struct>        one for each entry of seq_lens; padding has source ""
    kind         string              "pretrain" | "sft"
    loss_weights list<float32>       one for each entry of seq_lens, 0 for padding; only where a build uses weights

Guarantees: the same rows give the same bytes. Price: one copy of the tokens from memory to disk (see uncached), their
SHA-256 on the way.
"""

from __future__ import annotations

import hashlib
import mmap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tokenization.store import write_json
from tokenization.uncached import UncachedFile

SEGMENT = pa.struct(
    [("source", pa.string()), ("item", pa.string()), ("start", pa.int64()), ("length", pa.int32())]
)
SHARD_TOKENS = 16 << 20  # about 70 MB a shard: large enough to stream, small enough to share among workers
BATCH_ROWS = 1000


def schema_of(window: int | None, weights: bool = False) -> pa.Schema:
    """The dataset's columns; `window` None where rows have lengths of their own."""
    size = -1 if window is None else window
    return pa.schema(
        [
            ("input_ids", pa.list_(pa.int32(), size)),
            ("loss_mask", pa.list_(pa.bool_(), size)),
            ("seq_lens", pa.list_(pa.int32())),
            ("segments", pa.list_(SEGMENT)),
            ("kind", pa.string()),
            *([("loss_weights", pa.list_(pa.float32()))] if weights else []),
        ]
    )


def batch_of(
    *,
    input_ids: NDArray[np.int32],
    loss_mask: NDArray[np.bool_],
    row_offsets: NDArray[np.int64],
    segment_offsets: NDArray[np.int64],
    segments: dict[str, pa.Array],
    kinds: pa.Array,
    window: int | None,
    loss_weights: NDArray[np.float32] | None = None,
) -> pa.RecordBatch:
    """Rows from flat arrays; row r holds tokens `row_offsets[r]:[r + 1]` and segments `segment_offsets[r]:[r + 1]`."""
    offsets = pa.array(row_offsets.astype(np.int32))
    ids, mask = pa.array(input_ids), bits_of(loss_mask)
    if window is None:
        token_columns = [pa.ListArray.from_arrays(offsets, ids), pa.ListArray.from_arrays(offsets, mask)]
    else:
        token_columns = [pa.FixedSizeListArray.from_arrays(column, window) for column in (ids, mask)]
    of_segments = pa.array(segment_offsets.astype(np.int32))
    struct = pa.StructArray.from_arrays([segments[field.name] for field in SEGMENT], fields=list(SEGMENT))
    arrays = [
        *token_columns,
        pa.ListArray.from_arrays(of_segments, segments["length"]),
        pa.ListArray.from_arrays(of_segments, struct),
        kinds,
    ]
    if loss_weights is not None:
        arrays.append(pa.ListArray.from_arrays(of_segments, pa.array(loss_weights, pa.float32())))
    return pa.RecordBatch.from_arrays(arrays, schema=schema_of(window, loss_weights is not None))


def bits_of(flags: NDArray[np.bool_]) -> pa.BooleanArray:
    """The flags as Arrow holds them, a bit each; an eighth of the time that Arrow's own conversion takes."""
    packed = pa.py_buffer(np.packbits(flags, bitorder="little"))
    return pa.BooleanArray.from_buffers(pa.bool_(), len(flags), [None, packed])


@dataclass(frozen=True)
class Written:
    """What stands in a shard file that was just written."""

    rows: int
    targets: int
    sha256: str


def write_shard(
    path: Path, batches: Iterator[pa.RecordBatch], window: int | None, weights: bool = False
) -> Written:
    """Write one stream file, counted and hashed on the way: nothing is read back."""
    schema = with_features(schema_of(window, weights))
    rows = targets = 0
    with UncachedFile(path) as file:
        sink = _Hashed(file)
        with pa.PythonFile(sink, "w") as out, pa.ipc.new_stream(out, schema) as writer:
            for batch in batches:
                writer.write_batch(batch.replace_schema_metadata(schema.metadata))
                rows += batch.num_rows
                targets += count_targets(batch)
    return Written(rows, targets, sink.digest.hexdigest())


class _Hashed:
    """A file to write to that keeps the SHA-256 of what went through it; buffers are not copied."""

    closed = False

    def __init__(self, file: UncachedFile) -> None:
        self._file = file
        self.digest = hashlib.sha256()

    def write(self, content: Any) -> int:
        self.digest.update(content)
        return self._file.write(content)

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """The file is its opener's to close."""


def features_of(window: int | None, weights: bool = False) -> dict[str, Any]:
    """The columns in the words of `datasets` (its `Features`, as JSON)."""
    size = -1 if window is None else window

    def of(dtype: str) -> dict[str, str]:
        return {"dtype": dtype, "_type": "Value"}

    return {
        "input_ids": {"feature": of("int32"), "length": size, "_type": "List"},
        "loss_mask": {"feature": of("bool"), "length": size, "_type": "List"},
        "seq_lens": {"feature": of("int32"), "_type": "List"},
        "segments": {
            "feature": {
                "source": of("string"),
                "item": of("string"),
                "start": of("int64"),
                "length": of("int32"),
            },
            "_type": "List",
        },
        "kind": of("string"),
        **({"loss_weights": {"feature": of("float32"), "_type": "List"}} if weights else {}),
    }


def with_features(schema: pa.Schema) -> pa.Schema:
    """The schema with the features noted where `datasets` looks for them, so that it need not guess."""
    size = schema.field("input_ids").type
    window = size.list_size if pa.types.is_fixed_size_list(size) else None
    return noted(schema, features_of(window, "loss_weights" in schema.names))


def noted(schema: pa.Schema, features: dict[str, Any]) -> pa.Schema:
    """The schema with these features of `datasets` in its metadata."""
    import orjson

    return schema.with_metadata({"huggingface": orjson.dumps({"info": {"features": features}})})


def shard_name(number: int, count: int) -> str:
    return f"data-{number:05d}-of-{count:05d}.arrow"


def write_split_metadata(
    folder: Path,
    shards: Sequence[str],
    fingerprint: str,
    split: str,
    window: int | None,
    weights: bool = False,
) -> None:
    """`state.json` and `dataset_info.json`, which make a folder of shards with a dataset's columns a dataset."""
    write_folder_metadata(folder, shards, fingerprint, split, features_of(window, weights))


def write_folder_metadata(
    folder: Path, shards: Sequence[str], fingerprint: str, split: str, features: dict[str, Any]
) -> None:
    """The same for columns of these features."""
    state: dict[str, Any] = {
        "_data_files": [{"filename": name} for name in shards],
        "_fingerprint": fingerprint[:16],
        "_format_columns": None,
        "_format_kwargs": {},
        "_format_type": None,
        "_output_all_columns": False,
        "_split": split,
    }
    write_json(folder / "state.json", state, indent=True)
    info = {"citation": "", "description": "", "features": features, "homepage": "", "license": ""}
    write_json(folder / "dataset_info.json", info, indent=True)


def write_dataset_metadata(folder: Path, splits: Sequence[str]) -> None:
    """`dataset_dict.json`, which makes a folder of splits a DatasetDict."""
    write_json(folder / "dataset_dict.json", {"splits": list(splits)})


def read_split(folder: Path) -> Iterator[pa.RecordBatch]:
    """A split's rows batch by batch, memory-mapped, in order."""
    import orjson

    for entry in orjson.loads((folder / "state.json").read_bytes())["_data_files"]:
        yield from read_stream(folder / entry["filename"])


def read_stream(path: Path) -> Iterator[pa.RecordBatch]:
    """One shard's rows batch by batch, memory-mapped: only what is looked at is read. (Arrow's own `memory_map` asks
    for a whole batch as soon as it is given out, tokens and all.)"""
    with open(path, "rb") as file:
        content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if path.stat().st_size else b""
    yield from pa.ipc.open_stream(pa.py_buffer(content))


def count_targets(batch: pa.RecordBatch) -> int:
    """How many tokens of the rows are targets."""
    return int(batch.column("loss_mask").flatten().true_count)


def row_of(batch: pa.RecordBatch, number: int) -> dict[str, Any]:
    """One row of a batch: its tokens (int32) and mask (bool) as arrays, the rest as Python values."""
    row = batch.slice(number, 1)
    rest = [name for name in row.schema.names if name not in ("input_ids", "loss_mask")]
    ids, mask = (row.column(name).flatten() for name in ("input_ids", "loss_mask"))
    return {
        "input_ids": ids.to_numpy(),
        "loss_mask": mask.to_numpy(zero_copy_only=False),
        **row.select(rest).to_pylist()[0],
    }


def read_row(folder: Path, row: int) -> dict[str, Any]:
    """One row of a split as Python values; IndexError where there is none."""
    seen = 0
    for batch in read_split(folder):
        if row < seen + batch.num_rows:
            return dict(batch.slice(row - seen, 1).to_pylist()[0])
        seen += batch.num_rows
    raise IndexError(f"row {row} of {seen}")
