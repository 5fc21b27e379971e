"""Small sources for the tests of ingest: write files, read them whole."""

from __future__ import annotations

import gzip
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import zstandard

from tokenization.ingest.chunks import Chunk, plan_chunks
from tokenization.ingest.cleaning import CleaningOptions
from tokenization.ingest.corpus import DOCUMENT_SCHEMA, TextOptions, read_documents
from tokenization.ingest.files import InputFile, resolve_files
from tokenization.ingest.places import absolute_places, chunk_counts, line_offsets
from tokenization.ingest.sessions import SESSION_SCHEMA, ChatOptions, read_sessions
from tokenization.ingest.set_aside import SET_ASIDE_SCHEMA

ANY_TEXT, CLEAN, ANY_CHAT = TextOptions(), CleaningOptions(), ChatOptions()


@dataclass(frozen=True)
class Read:
    """What a whole source came to, with absolute places."""

    rows: list[dict[str, Any]]
    set_aside: list[dict[str, Any]]
    rows_read: int
    chunks: list[Chunk]
    changes: dict[str, int]

    @property
    def reasons(self) -> list[tuple[int, str]]:
        """(place, reason) of each row set aside, in order of places."""
        return sorted((row["place"], row["reason"]) for row in self.set_aside)

    @property
    def texts(self) -> list[str]:
        return [row["text"] for row in self.rows]

    @property
    def sessions(self) -> list[list[dict[str, Any]]]:
        return [orjson.loads(row["messages"]) for row in self.rows]


def lines(*rows: Any) -> bytes:
    """JSON Lines of these rows; bytes go in as they are."""
    return b"".join((row if isinstance(row, bytes) else orjson.dumps(row)) + b"\n" for row in rows)


def write(path: Path, data: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    raw = data.encode() if isinstance(data, str) else data
    if path.suffix == ".gz":
        raw = gzip.compress(raw)
    if path.suffix == ".zst":
        raw = zstandard.compress(raw)
    path.write_bytes(raw)
    return path


def list_files(path: Path | str) -> list[InputFile]:
    return resolve_files(str(path), Path.cwd(), source="docs")


def read_text(
    path: Path | str,
    options: TextOptions = ANY_TEXT,
    cleaning: CleaningOptions = CLEAN,
    **limits: int,
) -> Read:
    """All documents of a source."""
    files = list_files(path)
    chunks = plan_chunks(files, ["digest"] * len(files), **limits)
    batches = [list(read_documents(chunk, options, cleaning)) for chunk in chunks]
    changes: dict[str, int] = {}
    for batch in (batch for group in batches for batch in group):
        for name, count in batch.changes.items():
            changes[name] = changes.get(name, 0) + count
    return _together(chunks, batches, "documents", DOCUMENT_SCHEMA, changes)


def read_chat(path: Path | str, options: ChatOptions = ANY_CHAT, **limits: int) -> Read:
    """All sessions of a source."""
    files = list_files(path)
    chunks = plan_chunks(files, ["digest"] * len(files), **limits)
    batches = [list(read_sessions(chunk, options)) for chunk in chunks]
    return _together(chunks, batches, "sessions", SESSION_SCHEMA, {})


def _together(
    chunks: list[Chunk], batches: list[list[Any]], what: str, schema: pa.Schema, changes: dict[str, int]
) -> Read:
    counts = [chunk_counts(chunk, group) for chunk, group in zip(chunks, batches, strict=True)]
    offsets = line_offsets(chunks, counts)
    rows: list[dict[str, Any]] = []
    set_aside: list[dict[str, Any]] = []
    for group, offset in zip(batches, offsets, strict=True):
        for batch in group:
            table = getattr(batch, what)
            assert table.schema == schema and batch.set_aside.schema == SET_ASIDE_SCHEMA
            assert batch.rows_read == len(table) + len(batch.set_aside), "in = kept + set aside"
            rows += absolute_places(table, offset).to_pylist()
            set_aside += absolute_places(batch.set_aside, offset).to_pylist()
    return Read(rows, set_aside, sum(count.rows_read for count in counts), chunks, changes)


def without(rows: Iterable[dict[str, Any]], *names: str) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if key not in names} for row in rows]
