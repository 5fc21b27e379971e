"""Raw text in, cleaned documents out: the first stage of every text source.

A text file is one document (a long one several, see text_files); of JSON, CSV, Parquet and Arrow each row is
one. What can't be read or holds no text is set aside with file, place and reason, so that rows read =
documents + rows set aside, batch by batch.

Guarantees: the same documents in the same order however the source was cut into chunks; bounded batches
(about 8 MB of text, or one document that is longer). Price: one parse, one cleaning pass and one hash;
about 6 ms a megabyte of JSON Lines, nearly all of it without the GIL.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import xxhash

from tokenization.errors import RecipeError
from tokenization.ingest.amounts import Amounts
from tokenization.ingest.chunks import Chunk, Piece
from tokenization.ingest.cleaning import CleaningOptions, clean_column, text_bytes
from tokenization.ingest.files import InputFile
from tokenization.ingest.rows import BATCH_BYTES
from tokenization.ingest.set_aside import SetAsideRows
from tokenization.ingest.text_columns import TextColumns, iter_text_columns
from tokenization.ingest.text_fields import (
    ID_FIELD,
    TextOptions,
    check_text_fields,
    text_field_of,
)
from tokenization.ingest.text_files import TextPart, iter_parts

__all__ = [
    "DOCUMENT_SCHEMA",
    "DocumentBatch",
    "TextOptions",
    "check_text_fields",
    "hash_column",
    "read_documents",
    "refuse_unreadable",
]

DOCUMENT_SCHEMA = pa.schema(
    [
        pa.field("own_id", pa.string()),  # the row's own id, as text
        pa.field("place", pa.int64(), nullable=False),  # 1-based line or row, 0 = the whole file
        pa.field("file", pa.string(), nullable=False),  # relative path
        pa.field("text", pa.large_string(), nullable=False),  # cleaned
        pa.field("hash", pa.binary(16), nullable=False),  # hashing.text_hash of the text
    ]
)


@dataclass(frozen=True)
class DocumentBatch:
    """Some documents of a chunk, and what was set aside on the way to them."""

    documents: pa.Table  # DOCUMENT_SCHEMA
    set_aside: pa.Table  # SET_ASIDE_SCHEMA
    rows_read: int  # = documents + set aside
    lines_read: tuple[int, ...]  # one for each piece of the chunk
    piece: int  # index of the piece that the first row is from
    changes: dict[str, int] = field(default_factory=dict)  # what cleaning did -> documents
    amounts: Amounts = field(default_factory=dict)  # of the texts: read, moved by cleaning, left out


def read_documents(chunk: Chunk, options: TextOptions, cleaning: CleaningOptions) -> Iterator[DocumentBatch]:
    """The documents of a chunk, in order, in bounded batches."""
    collected = _Collected(len(chunk.pieces), cleaning)
    for index, piece in enumerate(chunk.pieces):
        for columns in _columns(piece, options, collected.set_aside):
            collected.add(index, piece.file, columns)
            if collected.is_full:
                yield collected.take()
    yield collected.take()


def _columns(piece: Piece, options: TextOptions, set_aside: SetAsideRows) -> Iterator[TextColumns]:
    if piece.file.format != "text":
        text_field = text_field_of(piece.file, options)
        yield from iter_text_columns(piece, text_field, options.id_field or ID_FIELD, set_aside)
        return
    for part in iter_parts(piece.file, set_aside):
        yield _of_part(part)


def _of_part(part: TextPart) -> TextColumns:
    """A text file, or a part of a long one: one document, whatever is in it."""
    count = int(part.sound)
    changes = {f"decoded_{part.encoding}": 1} if count and part.encoding != "utf-8" else {}
    if part.place:
        changes["long_text_parts"] = 1
    return TextColumns(
        texts=pa.array([part.text][:count], pa.large_string()),
        own_ids=pa.nulls(count, pa.string()),
        places=np.full(count, part.place, np.int64),
        raw=lambda _: part.raw,
        rows_read=1,
        lines_read=0,
        changes=changes,
    )


class _Collected:
    """What has been read since the last batch was given."""

    def __init__(self, num_pieces: int, cleaning: CleaningOptions) -> None:
        self.set_aside = SetAsideRows()
        self._cleaning = cleaning
        self._num_pieces = num_pieces
        self._clear()

    def _clear(self) -> None:
        self._waiting: list[tuple[InputFile, TextColumns]] = []
        self._bytes = 0
        self._rows = 0
        self._lines = [0] * self._num_pieces
        self._piece: int | None = None

    @property
    def is_full(self) -> bool:
        return self._bytes >= BATCH_BYTES

    def add(self, index: int, file: InputFile, columns: TextColumns) -> None:
        """Texts of the piece with this index, and what was read for them."""
        if self._piece is None:
            self._piece = index
        self._waiting.append((file, columns))
        self._bytes += columns.texts.nbytes
        self._rows += columns.rows_read
        self._lines[index] += columns.lines_read

    def take(self) -> DocumentBatch:
        changes: Counter[str] = Counter()
        documents, amounts = self._cleaned(changes)
        batch = DocumentBatch(
            documents,
            self.set_aside.take(),
            self._rows,
            tuple(self._lines),
            self._piece or 0,
            dict(changes),
            amounts,
        )
        self._clear()
        return batch

    def _cleaned(self, changes: Counter[str]) -> tuple[pa.Table, Amounts]:
        """The waiting texts, cleaned and hashed; those that cleaning leaves out are set aside."""
        waiting = [columns for _, columns in self._waiting]
        if not waiting:
            return DOCUMENT_SCHEMA.empty_table(), {}
        for columns in waiting:
            changes.update(columns.changes)
        counts = [len(columns.texts) for columns in waiting]
        cleaned = clean_column(_joined([columns.texts for columns in waiting]), self._cleaning)
        changes.update(cleaned.changes)
        ends = np.cumsum(counts)
        for row, (reason, detail) in cleaned.left_out.items():
            owner = int(np.searchsorted(ends, row, side="right"))
            file, columns = self._waiting[owner]
            own = row - int(ends[owner]) + counts[owner]
            place, own_id = int(columns.places[own]), columns.own_ids[own].as_py()
            self.set_aside.add(file.relative, place, reason, detail, columns.raw(own), own_id)
        table = pa.table(
            {
                "own_id": _joined([columns.own_ids for columns in waiting]),
                "place": pa.array(np.concatenate([columns.places for columns in waiting])),
                "file": _joined(
                    [pa.repeat(file.relative, len(columns.texts)) for file, columns in self._waiting]
                ),
                "text": cleaned.texts,
                "hash": hash_column(cleaned.texts),
            },
            schema=DOCUMENT_SCHEMA,
        )
        if not cleaned.left_out:
            return table, cleaned.amounts
        kept = np.ones(len(table), np.bool_)
        kept[list(cleaned.left_out)] = False
        return table.filter(pa.array(kept)).combine_chunks(), cleaned.amounts


def _joined(arrays: list[pa.Array]) -> pa.Array:
    """Laid end to end; the one where there is one, without a copy."""
    return arrays[0] if len(arrays) == 1 else pa.concat_arrays(arrays)


def hash_column(column: pa.LargeStringArray) -> pa.Array:
    """`hashing.text_hash` of each text, taken from the column's bytes without making strings."""
    data, offsets = text_bytes(column)
    view, bounds = memoryview(data.data), offsets.tolist()
    digest = xxhash.xxh3_128_digest
    hashes = [digest(view[start:stop]) for start, stop in itertools.pairwise(bounds)]
    return pa.array(hashes, pa.binary(16))


def refuse_unreadable(files: Sequence[InputFile], set_aside: pa.Table, *, source: str) -> None:
    """Raises `RecipeError` where every file of a source was set aside as unreadable or undecodable."""
    details = {
        file: detail
        for file, place, reason, detail in zip(
            *(set_aside.column(name).to_pylist() for name in ("file", "place", "reason", "detail")),
            strict=True,
        )
        if place == 0 and reason in ("unreadable_file", "undecodable")
    }
    if files and all(file.relative in details for file in files):
        raise RecipeError(f"source {source!r}: no file can be read; {next(iter(details.values()))}")
