"""`items.parquet`: one row an item of the build, with what `verify` and `trace` need once the sources are gone.

A document's row has its file, place and content hash; a session's (or a cut's) also its messages as they were
rendered, its tool definitions and the target spans in token positions of its sequence.
Price: one chunk's rows and three row groups in memory at a time. More than half of the time is their compression, which
goes on beside the rest.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tokenization.build.choosing import Choosing, Chosen
from tokenization.stages.documents import ROWS, load_index
from tokenization.stages.selection import VALIDATION, load_slice
from tokenization.stages.tables import open_table
from tokenization.stages.tokens import load_sequences
from tokenization.stages.workspace import Workspace

REPEATING = [
    "split",
    "source",
    "kind",
    "file",
]  # columns of few values; a dictionary of others is made in vain
SOUGHT = [
    "split",
    "source",
    "item",
    "place",
    "num_tokens",
]  # columns that a reader may search by their ranges
ROW_GROUP = 8192  # rows: 5 MB with sessions of 134 tokens
SPAN = pa.struct([("start", pa.int32()), ("stop", pa.int32()), ("message", pa.int32())])
ITEM_SCHEMA = pa.schema(
    [
        ("split", pa.string()),
        ("source", pa.string()),
        ("item", pa.string()),
        ("kind", pa.string()),  # "pretrain" | "sft", as in the dataset
        ("file", pa.string()),
        ("place", pa.int64()),  # line or row, from 1; 0 = the whole file
        ("content_hash", pa.string()),
        ("cut", pa.int32()),  # null where the session was not cut
        ("num_tokens", pa.int32()),
        ("num_target_tokens", pa.int32()),
        ("actions", pa.list_(pa.string())),  # what a policy did, e.g. "drop_turns:3"
        ("messages", pa.large_string()),  # JSON; null for documents
        ("tools", pa.large_string()),
        ("spans", pa.list_(SPAN)),
    ]
)


class ItemsFile:
    """The file while it is written: a thread of its own compresses what is added; on leaving the block it is whole."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._added: deque[Future[None]] = deque()

    def __enter__(self) -> ItemsFile:
        self._writer = pq.ParquetWriter(
            self._path,
            ITEM_SCHEMA,
            compression="zstd",
            use_dictionary=REPEATING,
            write_statistics=SOUGHT,
        )
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="compress")
        return self

    def add(self, group: pa.Table) -> None:
        """The next row group; two at most wait to be written."""
        self._added.append(self._thread.submit(self._writer.write_table, group))
        if len(self._added) > 2:
            self._added.popleft().result()

    def __exit__(self, *raised: object) -> None:
        self._thread.shutdown()
        self._writer.close()
        if raised[0] is None:
            for added in self._added:
                added.result()


def write_items(workspace: Workspace, file: ItemsFile) -> Chosen:
    """Every source's items in recipe order; those of them that are worth looking at, as soon as they are known."""
    counts = {source.name: len(load_sequences(workspace, source.name)) for source in workspace.recipe.sources}
    choosing = Choosing(counts)
    tables = (table for source in workspace.recipe.sources for table in source_items(workspace, source.name))
    for group in regrouped(tables, ROW_GROUP):
        file.add(group)
        choosing.look(group)
    return choosing.chosen()


def regrouped(tables: Iterable[pa.Table], rows: int) -> Iterator[pa.Table]:
    """The same rows in tables of this many, so that the file does not tell how the sources were cut into chunks."""
    held: list[pa.Table] = []
    count = 0
    for table in tables:
        held.append(table)
        count += len(table)
        while count >= rows:
            whole = pa.concat_tables(held)
            yield whole.slice(0, rows).combine_chunks()
            held, count = [whole.slice(rows)], count - rows
    if count:
        yield pa.concat_tables(held).combine_chunks()


def source_items(workspace: Workspace, name: str) -> Any:
    """A source's rows of the table, a part at a time."""
    sequences = load_sequences(workspace, name)
    index = load_index(workspace, name)
    held_out = load_slice(workspace, name) == VALIDATION
    result = workspace.result("tokens", name).value
    for key, chunk, part in source_parts(result, sequences):
        item = part.column("item")
        rows = index.take(item)
        cut = part.column("cut")
        uncut = pc.less(cut, 0)
        names = pc.if_else(
            uncut,
            rows.column("item"),
            pc.binary_join_element_wise(rows.column("item"), pc.cast(cut, pa.string()), "#"),
        )
        count = len(part)
        columns = {
            "split": pa.array(
                np.where(held_out[item.to_numpy()], "validation", "train").astype(object), pa.string()
            ),
            "source": pa.array([name] * count, pa.string()),
            "item": names,
            "kind": pa.array(["pretrain" if result["kind"] == "text" else "sft"] * count, pa.string()),
            "file": rows.column("file"),
            "place": rows.column("place"),
            "content_hash": hex_of(rows.column("hash")),
            "cut": pc.if_else(uncut, pa.scalar(None, pa.int32()), cut),
            "num_tokens": part.column("length"),
            "num_target_tokens": part.column("targets"),
            **session_columns(workspace, name, chunk, key, count),
        }
        yield pa.table(columns, schema=ITEM_SCHEMA)


def source_parts(result: dict[str, Any], sequences: pa.Table) -> Iterator[tuple[str, int, pa.Table]]:
    """(tokens object, its chunk, its sequences) of chats; texts, whose objects are not read, so many rows at a time."""
    if result["kind"] == "text":
        for first in range(0, len(sequences), ROW_GROUP):
            yield "", -1, sequences.slice(first, ROW_GROUP)
        return
    object_of = sequences.column("object").to_numpy()
    for number, (key, chunk) in enumerate(zip(result["objects"], result["chunks"], strict=True)):
        first, last = np.searchsorted(object_of, [number, number + 1])
        yield key, chunk, sequences.slice(int(first), int(last - first))


def hex_of(hashes: pa.ChunkedArray) -> pa.Array:
    """Hashes as hexadecimal text."""
    import polars as pl

    column = pl.Series(pl.from_arrow(hashes.cast(pa.binary())), dtype=pl.Binary)
    return column.bin.encode("hex").to_arrow().cast(pa.string())


def session_columns(workspace: Workspace, name: str, chunk: int, key: str, count: int) -> dict[str, Any]:
    """What only sessions have: messages as rendered, tools, spans, actions."""
    if workspace.source(name).kind == "text":
        return {
            "actions": pa.array([[]] * count, pa.list_(pa.string())),
            **{
                column: pa.nulls(count, ITEM_SCHEMA.field(column).type)
                for column in ("messages", "tools", "spans")
            },
        }
    stored = open_table(workspace.store.path("tokens", key) / "sequences.arrow")
    chunk_key = workspace.result("documents", name).value["chunks"][chunk]
    sessions = open_table(workspace.store.path("rows", chunk_key) / ROWS).select(["messages", "tools"])
    rows = stored.column("row").to_numpy()
    if len(rows) != len(sessions) or (np.diff(rows) != 1).any():
        sessions = sessions.take(stored.column("row"))
    own = stored.column("messages")
    whole = sessions.column("messages")
    return {
        "actions": stored.column("actions"),
        "messages": whole if own.null_count == len(own) else pc.coalesce(own, whole),
        "tools": sessions.column("tools"),
        "spans": stored.column("spans"),
    }
