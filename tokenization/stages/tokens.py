"""Stage `tokens`: a source's items become token sequences, chunk by chunk.

Texts are encoded and closed with the document end; sessions are rendered, masked and proved. A chunk's object is
`ids.bin` (uint16 where the largest id allows, else uint32), for chats `mask.bin` (one byte a token), `sequences.arrow`
(one row a sequence) and, for chats, `set_aside.arrow`.

A document is encoded once for a tokenizer, whatever is chosen beside it (see text_pieces), so a changed seed, share,
split or window encodes nothing that was encoded before: nothing at all with `encode_all`, else the documents newly
drawn (see draw). A chat object depends on its chunk, on which of its sessions are kept, on tokenizer, template and
policies; another window renders only the sessions longer than it again, into an object of their own.

Guarantees: every item that is kept, and drawn, has its sequences here or a reason in `set_aside`; every chat sequence
was proved.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tokenization.hashing import key_of
from tokenization.stages import chat_tokens, text_pieces
from tokenization.stages.catalogue import CODES, draws
from tokenization.stages.documents import load_index
from tokenization.stages.draw import load_encoded
from tokenization.stages.running import run_jobs
from tokenization.stages.selection import is_kept, load_prompted, load_slice
from tokenization.stages.tables import open_table
from tokenization.stages.text_pieces import rows_by_chunk
from tokenization.stages.tokenizer import opened, tokenizer_path
from tokenization.stages.workspace import Workspace


def parts(workspace: Workspace, name: str) -> list[Any] | None:
    documents = workspace.find("documents", name)
    selection = workspace.find("selection")
    tokenizer = workspace.find("tokenizer")
    if documents is None or selection is None or tokenizer is None:
        return None
    is_text = workspace.source(name).kind == "text"
    chosen = selection.value["kept"][name]
    if is_text and draws(workspace.recipe):
        drawn = workspace.find("draw")
        if drawn is None:
            return None
        chosen = drawn.value["encoded"][name]
    common = [documents.fingerprint, chosen, tokenizer.fingerprint, tokenizer.value["engine"]]
    if is_text:
        return [text_pieces.CODE, *common]
    return [
        *common,
        selection.value["prompted"].get(name),
        chat_tokens.description(workspace),
        workspace.recipe.window,
        workspace.recipe.sft.layout,
    ]


def run(workspace: Workspace, name: str, key: str) -> dict[str, Any]:
    return encoded(workspace, name) if workspace.source(name).kind == "text" else rendered(workspace, name)


def chosen_documents(workspace: Workspace, name: str) -> NDArray[np.bool_]:
    """Which documents of a text source have tokens, bool, one a row of its index."""
    if draws(workspace.recipe):
        return load_encoded(workspace, name)
    return is_kept(load_slice(workspace, name))


def encoded(workspace: Workspace, name: str) -> dict[str, Any]:
    """A text source's summary."""
    chosen = chosen_documents(workspace, name)
    made = text_pieces.encode(workspace, name, chosen)
    places = text_pieces.places(workspace, name, chosen, list(zip(made.pieces, made.chunks, strict=True)))
    count, tokens = len(places.length), int(places.length.sum(dtype=np.int64))
    return {
        "fingerprint": key_of(made.name),
        "kind": "text",
        "objects": made.pieces,
        "chunks": made.chunks,
        "workers": made.workers,
        "refitted_chunks": 0,
        "items": count,
        "set_aside": {},
        "sequences": count,
        "tokens": tokens,
        "target_tokens": tokens - count,  # of whole documents as one segment each
        "separators": count,
        "amounts": {"characters": int(places.characters.sum()), "bytes": int(places.bytes.sum())},
        **dict.fromkeys(("sessions", "proven", "lossy", "cuts"), 0),
    }


def rendered(workspace: Workspace, name: str) -> dict[str, Any]:
    """A chat source's summary."""
    from tokenization.stages import chat_jobs

    chunks = workspace.result("documents", name).value["chunks"]
    chosen = is_kept(load_slice(workspace, name))
    kept = [rows for _, rows in rows_by_chunk(workspace, name, len(chunks), chosen)]
    prompted = load_prompted(workspace, name)
    trained = (
        None
        if prompted is None
        else [rows for _, rows in rows_by_chunk(workspace, name, len(chunks), chosen & prompted)]
    )
    depends = chat_tokens.depends(workspace)
    jobs: list[Any] = []
    for number, (chunk, rows) in enumerate(zip(chunks, kept, strict=True)):
        if not len(rows):
            continue
        key = key_of("tokens", CODES["tokens"], chunk, rows.tobytes().hex(), *depends)
        if trained is None:
            jobs.append(chat_jobs.job(workspace, chunk, rows, key))
        else:
            key = key_of(key, "prompts", trained[number].tobytes().hex())
            jobs.append(chat_jobs.job(workspace, chunk, rows, key, trained[number]))
    size = int(workspace.result("documents", name).value["text_bytes"])
    threads = chat_jobs.threads_serve(jobs)
    metas, workers = run_jobs(workspace, "tokens", chat_jobs.encode_chunk, jobs, size, name, threads=threads)
    keys, metas, fitted = chat_jobs.fit(workspace, jobs, metas, name, threads=threads)
    reasons: Counter[str] = Counter()
    for meta in metas:
        reasons.update(meta["set_aside"])
    return {
        "fingerprint": key_of(keys),
        "kind": "chat",
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
        **chat_tokens.summary(workspace, metas),
    }


def load_sequences(workspace: Workspace, name: str) -> pa.Table:
    """One row a sequence of the source, in order: object (its number), begin (in `ids.bin`), length, targets,
    item (row of the index), cut (-1 where the session was not cut), weight (of its targets in the loss)."""
    result = workspace.result("tokens", name)
    objects = list(zip(result.value["objects"], result.value["chunks"], strict=True))
    if result.value["kind"] == "text":
        found = text_pieces.places(workspace, name, chosen_documents(workspace, name), objects)
        return pa.table(
            {
                "object": found.object,
                "begin": found.begin,
                "length": found.length,
                "targets": found.length - 1,
                "item": found.item,
                "cut": np.full(len(found.item), -1, np.int32),
                "weight": np.ones(len(found.item)),
            }
        )
    index = load_index(workspace, name)
    chunk_of, row_of = index.column("chunk").to_numpy(), index.column("row").to_numpy()
    tables = []
    for number, (key, chunk) in enumerate(objects):
        table = open_table(workspace.store.path("tokens", key) / "sequences.arrow")
        first, last = np.searchsorted(chunk_of, [chunk, chunk + 1])
        item = first + np.searchsorted(row_of[first:last], table.column("row").to_numpy())
        lengths = table.column("length").to_numpy()
        columns = {
            "object": np.full(len(table), number, np.int32),
            "begin": np.cumsum(lengths, dtype=np.int64) - lengths,
            "length": lengths,
            "targets": table.column("targets").to_numpy(),
            "item": item.astype(np.int64),
            "cut": table.column("cut").to_numpy(),
            "weight": table.column("weight").to_numpy(),
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

__all__ = ["load_sequences", "opened", "parts", "run", "tokenizer_path"]
