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
from tokenization.stages.documents import load_index
from tokenization.stages.running import run_jobs
from tokenization.stages.selection import is_kept, load_prompted, load_slice
from tokenization.stages.tables import open_table
from tokenization.stages.tokenizer import opened, tokenizer_path
from tokenization.stages.workspace import Workspace

CODE = "2"


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
    return [
        *common,
        selection.value["prompted"].get(name),
        chat_tokens.description(workspace),
        workspace.recipe.window,
        workspace.recipe.sft.layout,
    ]


def run(workspace: Workspace, name: str, key: str) -> dict[str, Any]:
    source = workspace.source(name)
    module = text_tokens if source.kind == "text" else chat_tokens
    chunks = workspace.result("documents", name).value["chunks"]
    chosen = is_kept(load_slice(workspace, name))
    kept = rows_by_chunk(workspace, name, len(chunks), chosen)
    prompted = load_prompted(workspace, name)
    trained = None if prompted is None else rows_by_chunk(workspace, name, len(chunks), chosen & prompted)
    depends = module.depends(workspace)
    jobs: list[Any] = []
    for number, (chunk, rows) in enumerate(zip(chunks, kept, strict=True)):
        if not len(rows):
            continue
        key = key_of("tokens", CODE, chunk, rows.tobytes().hex(), *depends)
        if trained is None:
            jobs.append(module.job(workspace, chunk, rows, key))
        else:
            key = key_of(key, "prompts", trained[number].tobytes().hex())
            jobs.append(chat_tokens.job(workspace, chunk, rows, key, trained[number]))
    size = int(workspace.result("documents", name).value["text_bytes"])
    metas, workers = run_jobs(
        workspace, "tokens", module.encode_chunk, jobs, size, name, threads=source.kind == "text"
    )
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


def rows_by_chunk(
    workspace: Workspace, name: str, chunks: int, chosen: NDArray[np.bool_]
) -> list[NDArray[np.int32]]:
    """For each chunk, those of its rows that are chosen (of the source's index), int32, ascending."""
    index = load_index(workspace, name)
    chunk_of = index.column("chunk").to_numpy()[chosen]
    rows = index.column("row").to_numpy()[chosen]
    borders = np.searchsorted(chunk_of, np.arange(chunks + 1))
    return [np.ascontiguousarray(rows[borders[i] : borders[i + 1]]) for i in range(chunks)]


def load_sequences(workspace: Workspace, name: str) -> pa.Table:
    """One row a sequence of the source, in order: object (its number), begin (in `ids.bin`), length, targets,
    item (row of the index), cut (-1 where the session was not cut), weight (of its targets in the loss)."""
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
            "weight": table.column("weight").to_numpy()
            if "weight" in table.column_names
            else np.ones(len(table)),
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
    "weight": np.float64,
}

__all__ = ["CODE", "load_sequences", "opened", "parts", "rows_by_chunk", "run", "tokenizer_path"]
