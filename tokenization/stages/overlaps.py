"""Chunks looked up in an index of guarded texts: one job a chunk, one object a job.

What is looked up, and against what, is `contamination`'s and `leaks`' to say; here is how a chunk is read and what is
kept: one row a text (or a guarded text) with the best pair, and the n-gram as it is written. Price: see
tokenization.duplicates.overlap; one chunk and the index in memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

from tokenization.duplicates import overlap
from tokenization.duplicates.overlap import NgramIndex, Overlap
from tokenization.engine import worker_id
from tokenization.hashing import key_of
from tokenization.stages.documents import ROWS
from tokenization.stages.running import run_jobs
from tokenization.stages.session_texts import session_texts
from tokenization.stages.tables import open_table, write_table
from tokenization.stages.workspace import Workspace
from tokenization.store import META, Store

CODE = "1"
FOUND = "found.arrow"
FOUND_SCHEMA = pa.schema(
    [
        ("row", pa.int32()),  # of the chunk
        ("guarded", pa.int32()),  # number of the guarded text
        ("ngrams", pa.int32()),  # in common
        ("share", pa.float64()),  # of the guarded text's
        ("character", pa.int64()),  # where the first one begins, in the text that was looked up
        ("ngram", pa.large_string()),  # as it is written there
    ]
)


@dataclass(frozen=True)
class LookUpJob:
    store: Store
    key: str
    chunk: str
    rows: NDArray[np.int32] | None  # int32 [num_rows]  those to look up, ascending; None: all
    index: Path  # of an NgramIndex
    by: Literal["text", "guarded"]  # keep the best pair of each


def look_up_chunks(
    workspace: Workspace,
    chunks: list[tuple[str, NDArray[np.int32] | None]],
    index: str,
    by: Literal["text", "guarded"],
    size: int,
    what: str,
) -> list[Path]:
    """Look up rows of these chunks in the index of that key; where the table of each chunk lies, in order."""
    store = workspace.store
    jobs = [
        LookUpJob(
            store,
            key_of(
                "overlaps",
                CODE,
                overlap.CODE,
                index,
                by,
                chunk,
                None if rows is None else rows.tobytes().hex(),
            ),
            chunk,
            rows,
            store.path("guarded", index),
            by,
        )
        for chunk, rows in chunks
    ]
    run_jobs(workspace, "overlaps", look_up_chunk, jobs, size, what)
    return [store.path("overlaps", job.key) / FOUND for job in jobs]


def look_up_chunk(job: LookUpJob) -> int:
    """Look one chunk up; the worker's number."""
    texts = chunk_texts(job.store, job.chunk, job.rows)
    found = NgramIndex.load(job.index).look_up(texts)
    found = found.best(found.text if job.by == "text" else found.guarded)
    with job.store.writing("overlaps", job.key) as folder:
        write_table(found_table(found, texts, job.rows), folder / FOUND)
        (folder / META).write_bytes(orjson.dumps({"texts": len(texts), "found": len(found)}))
    return worker_id()


def chunk_texts(store: Store, chunk: str, rows: NDArray[np.int32] | None) -> pa.ChunkedArray | pa.Array:
    """The chunk's documents, or what its sessions say; of these rows."""
    table = open_table(store.path("rows", chunk) / ROWS)
    is_text = "text" in table.column_names
    column = table.column("text" if is_text else "messages")
    if rows is not None:
        column = column.take(pa.array(rows))
    return column if is_text else session_texts(column)


def found_table(found: Overlap, texts: Any, rows: NDArray[np.int32] | None) -> pa.Table:
    """The pairs with their first n-gram in words, by row."""
    found = found.at(np.argsort(found.text, kind="stable"))
    ngrams, last, whole = [], -1, ""
    for text, begin, end in zip(found.text.tolist(), found.begins.tolist(), found.ends.tolist(), strict=True):
        if text != last:  # a long document is decoded once, not once for each pair
            last, whole = text, texts[text].as_py()
        ngrams.append(whole[begin:end])
    row = found.text if rows is None else rows[found.text]
    columns = [
        row,
        found.guarded,
        found.ngrams,
        found.share,
        found.begins,
        pa.array(ngrams, pa.large_string()),
    ]
    return pa.table(dict(zip(FOUND_SCHEMA.names, columns, strict=True))).cast(FOUND_SCHEMA)
