"""`trl` and `axolotl`: Arrow files that `datasets.load_from_disk` opens, a row a window, no column beyond need.

TRL's collator (padding_free) makes positions from `seq_lengths` and takes `labels` as they are. axolotl takes rows with
input_ids, attention_mask and labels as tokenized already and passes position_ids on; padding is attended to, as a
segment of its own, because a mask with a zero in it makes flash attention forget the positions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tokenization import shards
from tokenization.exporting.task import Counted, Task
from tokenization.exporting.windows import Windows

Columns = Callable[[Windows], dict[str, pa.Array]]
TRL = {"input_ids": pa.int32(), "labels": pa.int32(), "seq_lengths": pa.int32()}
AXOLOTL = {
    "input_ids": pa.int32(),
    "attention_mask": pa.int8(),
    "labels": pa.int32(),
    "position_ids": pa.int32(),
}


def write_trl(task: Task) -> Counted:
    return _write(task, TRL, _trl)


def write_axolotl(task: Task) -> Counted:
    return _write(task, AXOLOTL, _axolotl)


def finish(folder: Path, splits: list[str]) -> None:
    """What makes the folder of splits a DatasetDict."""
    shards.write_dataset_metadata(folder, splits)


def _trl(windows: Windows) -> dict[str, pa.Array]:
    return {
        "input_ids": windows.of_tokens(windows.rows.input_ids),
        "labels": windows.of_tokens(windows.labels),
        "seq_lengths": windows.of_segments(windows.rows.seq_lens),
    }


def _axolotl(windows: Windows) -> dict[str, pa.Array]:
    return {
        "input_ids": windows.of_tokens(windows.rows.input_ids),
        "attention_mask": windows.of_tokens(np.ones(len(windows.rows.input_ids), np.int8)),
        "labels": windows.of_tokens(windows.labels),
        "position_ids": windows.of_tokens(windows.position_ids),
    }


def _write(task: Task, types: dict[str, pa.DataType], columns: Columns) -> Counted:
    """One Arrow stream file a shard."""
    features = {name: {"feature": _value(kind), "_type": "List"} for name, kind in types.items()}
    schema = shards.noted(pa.schema([(name, pa.list_(kind)) for name, kind in types.items()]), features)
    sources = task.shards
    names = [shards.shard_name(number, len(sources)) for number in range(len(sources))]
    counted = Counted()
    for source, name in zip(sources, names, strict=True):
        with pa.OSFile(str(task.folder / name), "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
            for batch in _batches(counted.following(source), schema, columns):
                writer.write_batch(batch)
    shards.write_folder_metadata(task.folder, names, task.fingerprint, task.split, features)
    return counted


def _batches(windows: Iterator[Windows], schema: pa.Schema, columns: Columns) -> Iterator[pa.RecordBatch]:
    for each in windows:
        made = columns(each)
        yield pa.RecordBatch.from_arrays([made[name] for name in schema.names], schema=schema)


def _value(kind: pa.DataType) -> dict[str, Any]:
    return {"dtype": str(kind), "_type": "Value"}
