"""`parquet`: the dataset's own columns, with labels and positions beside them.

Row groups are the batches as the build holds them, about two million tokens each.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tokenization.exporting.task import Counted, Task
from tokenization.exporting.windows import Windows
from tokenization.shards import SEGMENT


def write_parquet(task: Task) -> Counted:
    """One file a shard."""
    schema = pa.schema(
        [
            ("input_ids", pa.list_(pa.int32())),
            ("loss_mask", pa.list_(pa.bool_())),
            ("labels", pa.list_(pa.int32())),
            ("position_ids", pa.list_(pa.int32())),
            ("seq_lens", pa.list_(pa.int32())),
            ("segments", pa.list_(SEGMENT)),
            ("kind", pa.string()),
            *([("loss_weights", pa.list_(pa.float32()))] if task.weights else []),
        ]
    )
    counted = Counted()
    for number, shard in enumerate(task.shards):
        path = task.folder / f"part-{number:05d}.parquet"
        with pq.ParquetWriter(path, schema, compression="zstd", use_dictionary=["kind"]) as writer:
            for windows in counted.following(shard):
                writer.write_batch(_columns(windows, schema), row_group_size=windows.batch.num_rows)
    return counted


def _columns(windows: Windows, schema: pa.Schema) -> pa.RecordBatch:
    tokens = pa.array(windows.rows.offsets.astype(np.int32))
    made = {
        "input_ids": windows.of_tokens(windows.rows.input_ids),
        "loss_mask": pa.ListArray.from_arrays(tokens, windows.rows.mask_bits),
        "labels": windows.of_tokens(windows.labels),
        "position_ids": windows.of_tokens(windows.position_ids),
    }
    columns = [made[name] if name in made else windows.batch.column(name) for name in schema.names]
    return pa.RecordBatch.from_arrays(columns, schema=schema)
