"""Column schemas for the page: what is on disk, in Arrow's words, with what each column means.

Written out here, so that the page needs no Arrow to load; tests hold that they are the tables' own.
"""

from __future__ import annotations

import dagster as dg

Columns = dict[str, tuple[str, str]]  # name -> Arrow's word for the type, meaning

INDEX: Columns = {  # of documents.INDEX_SCHEMA
    "item": ("string", "the row's own id, or file:place"),
    "file": ("string", "the file it came from, relative to the source"),
    "place": ("int64", "line or row in the file, from 1; 0 is the whole file"),
    "hash": ("fixed_size_binary[16]", "128 bits of the cleaned content: equal texts, equal hash"),
    "size": ("int64", "bytes of UTF-8"),
    "characters": ("int64", "code points; none for sessions"),
    "chunk": ("int32", "which stored chunk holds it"),
    "row": ("int32", "its row in the chunk"),
}
SEQUENCES: Columns = {  # of tokens.load_sequences
    "object": ("int32", "which stored object holds its tokens"),
    "begin": ("int64", "its first token there"),
    "length": ("int32", "tokens"),
    "targets": ("int32", "tokens that the loss sees"),
    "item": ("int64", "row of the documents' or sessions' index"),
    "cut": ("int32", "number of the cut, -1 where the session is whole"),
    "weight": ("double", "of its targets in the loss"),
}
PLAN: Columns = {  # of windows.Rows
    "kind": ("int8", "0 sft, 1 pretrain"),
    "begin": ("int64", "first segment of the row"),
    "end": ("int64", "behind its last segment"),
    "width": ("int64", "tokens of the row, padding included"),
}


def rows(window: int | None) -> Columns:
    """Of a dataset, as shards.schema_of(window) has them; None where rows have lengths of their own."""
    token, size = ("list", "") if window is None else ("fixed_size_list", f"[{window}]")
    segment = "struct<source: string, item: string, start: int64, length: int32>"
    return {
        "input_ids": (f"{token}<item: int32>{size}", "token ids, exactly one window"),
        "loss_mask": (f"{token}<item: bool>{size}", "true: this token is a target (unshifted)"),
        "seq_lens": (
            "list<item: int32>",
            "segment lengths; they add up to the window, padding is a last segment of its own",
        ),
        "segments": (f"list<item: {segment}>", "source, item, start and length of each segment"),
        "kind": ("string", "pretrain or sft"),
    }


def table_schema(columns: Columns) -> dg.TableSchema:
    """The columns as the page shows them."""
    return dg.TableSchema([dg.TableColumn(name, kind, means) for name, (kind, means) in columns.items()])
