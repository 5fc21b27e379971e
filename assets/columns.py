"""Column schemas for the page: the Arrow schemas of what is on disk, with what each column means."""

from __future__ import annotations

import dagster as dg
import pyarrow as pa

from tokenization.shards import schema_of
from tokenization.stages.documents import INDEX_SCHEMA

MEANS = {
    "item": "the row's own id, or file:place",
    "file": "the file it came from, relative to the source",
    "place": "line or row in the file, from 1; 0 is the whole file",
    "hash": "128 bits of the cleaned content: equal texts, equal hash",
    "size": "bytes of UTF-8",
    "chunk": "which stored chunk holds it",
    "row": "its row in the chunk",
    "input_ids": "token ids, exactly one window",
    "loss_mask": "true: this token is a target (unshifted)",
    "seq_lens": "segment lengths; they add up to the window, padding is a last segment of its own",
    "segments": "source, item, start and length of each segment",
    "kind": "pretrain or sft",
}
SEQUENCES = {
    "object": ("int32", "which stored object holds its tokens"),
    "begin": ("int64", "its first token there"),
    "length": ("int32", "tokens"),
    "targets": ("int32", "tokens that the loss sees"),
    "item": ("int64", "row of the documents' or sessions' index"),
    "cut": ("int32", "number of the cut, -1 where the session is whole"),
    "weight": ("float64", "of its targets in the loss"),
}
PLAN = {
    "kind": ("int8", "0 sft, 1 pretrain"),
    "begin": ("int64", "first segment of the row"),
    "end": ("int64", "behind its last segment"),
    "width": ("int64", "tokens of the row, padding included"),
}


def of_arrow(schema: pa.Schema) -> dg.TableSchema:
    """An Arrow schema as the page shows it."""
    return dg.TableSchema(
        [dg.TableColumn(field.name, str(field.type), MEANS.get(field.name)) for field in schema]
    )


def of_pairs(columns: dict[str, tuple[str, str]]) -> dg.TableSchema:
    return dg.TableSchema([dg.TableColumn(name, kind, means) for name, (kind, means) in columns.items()])


def dataset_columns(window: int) -> dg.TableSchema:
    """The rows of a dataset."""
    return of_arrow(schema_of(window))


INDEX_COLUMNS = of_arrow(INDEX_SCHEMA)
SEQUENCE_COLUMNS = of_pairs(SEQUENCES)
PLAN_COLUMNS = of_pairs(PLAN)
