"""Stage `tokens`: a source's kept items become token sequences, chunk by chunk.

Texts are encoded and closed with the document end; sessions are rendered, masked and proved. A chunk's object is
`ids.bin` (uint16 where the largest id allows, else uint32), for chats `mask.bin` (one byte a token), `sequences.arrow`
(one row a sequence) and, for chats, `set_aside.arrow`.

An object depends on its chunk, on which of its items are kept, and on the tokenizer, so a changed seed, share or split
encodes nothing, and neither does another window length: only sessions longer than the window are rendered
again, into an object of their own.

Guarantees: every kept item has its sequences here or a reason in `set_aside`; every chat sequence was proved.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tokenization.hashing import key_of
from tokenization.stages import chat_tokens, text_tokens
from tokenization.stages.documents import load_index, run_jobs
from tokenization.stages.selection import is_kept, load_slice
from tokenization.stages.tables import open_table
from tokenization.stages.tokenizer import opened, tokenizer_path
from tokenization.stages.workspace import Workspace

CODE = "1"


def parts(workspace: Workspace, name: str) -> list[Any] | None:
    documents = workspace.find("documents", name)
    selection = workspace.find("selection")
    tokenizer = workspace.find("tokenizer")
    if documents is None or selection is None or tokenizer is None:
        return None
    common = [
        documents.fingerprint,
        selection.value["kept"][name],
        tokenizer.fingerprint,
        tokenizer.value["engine"],
    ]
    if workspace.source(name).kind == "text":
        return common
    return [*common, chat_tokens.description(workspace), workspace.recipe.window, workspace.recipe.sft.layout]


def run(workspace: Workspace, name: str, key: str) -> dict[str, Any]:
    source = workspace.source(name)
    module = text_tokens if source.kind == "text" else chat_tokens
    chunks = workspace.result("documents", name).value["chunks"]
    kept = kept_rows(workspace, name, len(chunks))
    jobs = [
        module.job(
            workspace,
            chunk,
            rows,
            key_of("tokens", CODE, chunk, rows.tobytes().hex(), *module.depends(workspace)),
        )
        for chunk, rows in zip(chunks, kept, strict=True)
        if len(rows)
    ]
    size = int(workspace.result("documents", name).value["text_bytes"])
    metas, workers = run_jobs(workspace, "tokens", module.encode_chunk, jobs, size, name)
    keys = [job.key for job in jobs]
    fitted = 0
    if source.kind == "chat":
        keys, metas, fitted = chat_tokens.fit(workspace, jobs, metas, name)
    reasons: Counter[str] = Counter()
    for meta in metas:
        reasons.update(meta.get("set_aside", {}))
    return {
        "fingerprint": key_of(keys),
        "kind": source.kind,
        "objects": keys,
        "chunks": [chunk for chunk, rows in zip(range(len(chunks)), kept, strict=True) if len(rows)],
        "workers": workers,
        "refitted_chunks": fitted,
        "items": sum(len(rows) for rows in kept),
        "set_aside": dict(reasons),
        **{
            field: sum(meta.get(field, 0) for meta in metas)
            for field in (
                "sequences",
                "tokens",
                "target_tokens",
                "separators",
                "sessions",
                "proven",
                "lossy",
                "cuts",
            )
        },
        **(chat_tokens.summary(workspace, metas) if source.kind == "chat" else {}),
    }


def kept_rows(workspace: Workspace, name: str, chunks: int) -> list[NDArray[np.int32]]:
    """For each chunk, the rows that are no duplicates, int32, ascending."""
    index = load_index(workspace, name)
    kept = is_kept(load_slice(workspace, name))
    chunk_of = index.column("chunk").to_numpy()[kept]
    rows = index.column("row").to_numpy()[kept]
    borders = np.searchsorted(chunk_of, np.arange(chunks + 1))
    return [np.ascontiguousarray(rows[borders[i] : borders[i + 1]]) for i in range(chunks)]


def load_sequences(workspace: Workspace, name: str) -> pa.Table:
    """One row a sequence of the source, in order: object (its number), begin (in `ids.bin`), length, targets,
    item (row of the index), cut (-1 where the session was not cut)."""
    result = workspace.result("tokens", name)
    index = load_index(workspace, name)
    chunk_of, row_of = index.column("chunk").to_numpy(), index.column("row").to_numpy()
    tables = []
    for number, (key, chunk) in enumerate(zip(result.value["objects"], result.value["chunks"], strict=True)):
        table = open_table(workspace.store.path("tokens", key) / "sequences.arrow")
        first = int(np.searchsorted(chunk_of, chunk))
        last = int(np.searchsorted(chunk_of, chunk, side="right"))
        item = first + np.searchsorted(row_of[first:last], table.column("row").to_numpy())
        lengths = table.column("length").to_numpy()
        columns = {
            "object": np.full(len(table), number, np.int32),
            "begin": np.cumsum(lengths, dtype=np.int64) - lengths,
            "length": lengths,
            "targets": table.column("targets").to_numpy(),
            "item": item.astype(np.int64),
            "cut": table.column("cut").to_numpy(),
        }
        tables.append(pa.table(columns))
    empty = {n: np.zeros(0, t) for n, t in SEQUENCE_COLUMNS.items()}
    return pa.concat_tables(tables).combine_chunks() if tables else pa.table(empty)


SEQUENCE_COLUMNS = {
    "object": np.int32,
    "begin": np.int64,
    "length": np.int32,
    "targets": np.int32,
    "item": np.int64,
    "cut": np.int32,
}

__all__ = ["CODE", "kept_rows", "load_sequences", "opened", "parts", "run", "tokenizer_path"]
