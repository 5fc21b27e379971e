"""Documents to token sequences: one encode call a batch, the document end put behind each document.

Price: beside the encoder, one copy of the ids (about 1 ns a token).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

from tokenization.sequences import storage_dtype
from tokenization.stages.documents import ROWS
from tokenization.stages.tables import open_table, write_table
from tokenization.stages.tokenizer import tokenizer_path
from tokenization.stages.workspace import Workspace
from tokenization.store import META, Store
from tokenization.tokenizer.encoder import open_tokenizer

BATCH_BYTES = 8 << 20


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
    """Encode one chunk's kept documents; the worker's process id."""
    tokenizer = open_tokenizer(job.tokenizer)
    dtype = storage_dtype(tokenizer.largest_id)
    texts = open_table(job.store.path("rows", job.chunk) / ROWS).column("text").take(pa.array(job.rows))
    lengths: list[NDArray[np.int64]] = []
    with job.store.writing("tokens", job.key) as folder:
        with open(folder / "ids.bin", "wb") as sink:
            for batch in batches(texts):
                ids, offsets = tokenizer.encode_batch(batch)
                closed, closed_lengths = close_documents(ids, offsets, tokenizer.document_end_token_id, dtype)
                closed.tofile(sink)
                lengths.append(closed_lengths)
        length = np.concatenate(lengths) if lengths else np.zeros(0, np.int64)
        table = pa.table(
            {
                "row": job.rows,
                "cut": np.full(len(job.rows), -1, np.int32),
                "length": length.astype(np.int32),
                "targets": (length - 1).astype(np.int32),  # of the whole document as one segment
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
    return os.getpid()


def batches(texts: pa.ChunkedArray) -> Any:
    """Lists of texts of about BATCH_BYTES each."""
    batch: list[str] = []
    size = 0
    for array in texts.chunks:
        for begin in range(0, len(array), 4096):
            for text in array.slice(begin, 4096).to_pylist():
                batch.append(text)
                size += len(text)
                if size >= BATCH_BYTES:
                    yield batch
                    batch, size = [], 0
    if batch:
        yield batch


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
