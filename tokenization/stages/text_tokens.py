"""Documents to token sequences: one encode call a batch, the document end put behind each document.

A chunk is read, encoded and written a batch at a time, so memory does not follow its size.
Price: beside the encoder, one copy of the ids (about 1 ns a token).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

from tokenization.engine import worker_id
from tokenization.ingest.amounts import sizes_of
from tokenization.ingest.cleaning import text_bytes
from tokenization.sequences import storage_dtype
from tokenization.stages.documents import ROWS
from tokenization.stages.tables import read_batches, write_table
from tokenization.stages.tokenizer import tokenizer_path
from tokenization.stages.workspace import Workspace
from tokenization.store import META, Store
from tokenization.tokenizer.encoder import open_tokenizer

BATCH_BYTES = 12 << 20  # 8 to 16 MB encode fastest


@dataclass(frozen=True)
class EncodeJob:
    store: Store
    key: str
    chunk: str
    rows: NDArray[np.int32]  # int32 [num_kept]  rows of the chunk to encode, ascending
    tokenizer: Path


def depends(workspace: Workspace) -> list[Any]:
    tokenizer = workspace.result("tokenizer")
    return ["text", tokenizer.fingerprint, tokenizer.value["engine"]]


def job(workspace: Workspace, chunk: str, rows: NDArray[np.int32], key: str) -> EncodeJob:
    return EncodeJob(workspace.store, key, chunk, rows, tokenizer_path(workspace))


def encode_chunk(job: EncodeJob) -> int:
    """Encode one chunk's kept documents; the worker's number."""
    tokenizer = open_tokenizer(job.tokenizer)
    dtype = storage_dtype(tokenizer.largest_id)
    lengths: list[NDArray[np.int64]] = []
    sizes: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []
    with job.store.writing("tokens", job.key) as folder:
        with open(folder / "ids.bin", "wb") as sink:
            for texts in kept_texts(job.store.path("rows", job.chunk) / ROWS, job.rows):
                sizes.append(sizes_of(texts))
                for batch in batches(texts):
                    ids, offsets = tokenizer.encode_batch(batch)
                    closed, closed_lengths = close_documents(
                        ids, offsets, tokenizer.document_end_token_id, dtype
                    )
                    closed.tofile(sink)
                    lengths.append(closed_lengths)
        length = np.concatenate(lengths) if lengths else np.zeros(0, np.int64)
        table = pa.table(
            {
                "row": job.rows,
                "cut": np.full(len(job.rows), -1, np.int32),
                "length": length.astype(np.int32),
                "targets": (length - 1).astype(np.int32),  # of the whole document as one segment
                "characters": np.concatenate([np.zeros(0, np.int64), *(each for each, _ in sizes)]),
                "bytes": np.concatenate([np.zeros(0, np.int64), *(each for _, each in sizes)]),
            }
        )
        write_table(table, folder / "sequences.arrow")
        meta = {
            "sequences": len(length),
            "tokens": int(length.sum()),
            "separators": len(length),
            "target_tokens": int((length - 1).sum()),
            "dtype": dtype.name,
        }
        (folder / META).write_bytes(orjson.dumps(meta))
    return worker_id()


def kept_texts(path: Path, rows: NDArray[np.int32]) -> Iterator[pa.LargeStringArray]:
    """The texts of these rows (ascending), a stored batch at a time."""
    first = 0
    for batch in read_batches(path, ["text"]):
        last = first + batch.num_rows
        wanted = rows[np.searchsorted(rows, first) : np.searchsorted(rows, last)]
        texts = batch.column(0)
        if len(wanted):
            yield texts if len(wanted) == len(texts) else texts.take(pa.array(wanted - first))
        first = last


def batches(texts: pa.LargeStringArray) -> Iterator[list[str]]:
    """Lists of texts of about BATCH_BYTES of UTF-8 each; a longer text is a list of its own."""
    _, ends = text_bytes(texts)
    first = 0
    while first < len(texts):
        last = int(np.searchsorted(ends, ends[first] + BATCH_BYTES, side="right")) - 1
        last = min(max(last, first + 1), len(texts))
        yield texts.slice(first, last - first).to_numpy(zero_copy_only=False).tolist()
        first = last


def close_documents(
    ids: NDArray[np.uint32], offsets: NDArray[np.int64], document_end: int, dtype: np.dtype[Any]
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """The ids with the document end behind each document, and the new lengths."""
    lengths = np.diff(offsets) + 1
    ends = np.cumsum(lengths) - 1
    closed = np.empty(int(lengths.sum()), dtype)
    is_text = np.ones(len(closed), bool)
    is_text[ends] = False
    closed[is_text] = ids
    closed[ends] = document_end
    return closed, lengths
