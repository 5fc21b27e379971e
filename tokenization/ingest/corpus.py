"""Raw text in, cleaned documents out: the first stage of every text source.

A text file is one document; of JSON, CSV, Parquet and Arrow each row is one. What can't be read or holds no
text is set aside with file, place and reason, so that rows read = documents + rows set aside, batch by
batch.

Guarantees: the same documents in the same order however the source was cut into chunks; bounded batches
(about 8 MB of text, or one document that is longer). Price: one parse, one cleaning pass and one hash;
about 7 ms a megabyte of JSON Lines.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import xxhash

from tokenization.errors import RecipeError
from tokenization.ingest.chunks import Chunk
from tokenization.ingest.cleaning import CleaningOptions, clean_texts, text_bytes
from tokenization.ingest.decoding import UndecodableText, decode_text
from tokenization.ingest.files import InputFile
from tokenization.ingest.json_kinds import json_kind
from tokenization.ingest.opening import open_content
from tokenization.ingest.rows import BATCH_BYTES, RowBatch, iter_rows
from tokenization.ingest.set_aside import SetAsideRows, UnreadableInput
from tokenization.ingest.text_fields import (
    ID_FIELD,
    TextOptions,
    check_text_fields,
    own_id_text,
    text_field_of,
)

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


def read_documents(chunk: Chunk, options: TextOptions, cleaning: CleaningOptions) -> Iterator[DocumentBatch]:
    """The documents of a chunk, in order, in bounded batches."""
    collected = _Collected(len(chunk.pieces), cleaning)
    for index, piece in enumerate(chunk.pieces):
        if piece.file.format == "text":
            collected.add_file(index, piece.file)
            if collected.is_full:
                yield collected.take()
            continue
        text_field = text_field_of(piece.file, options)
        id_field = options.id_field or ID_FIELD
        for rows in iter_rows(piece, collected.set_aside, (text_field, id_field)):
            collected.add_rows(index, piece.file, rows, text_field, id_field)
            if collected.is_full:
                yield collected.take()
    yield collected.take()


@dataclass
class _Texts:
    """Texts that wait to be cleaned together, with what belongs to each."""

    texts: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    own_ids: list[str | None] = field(default_factory=list)
    raws: list[tuple[Callable[[int], bytes], int]] = field(default_factory=list)  # raw(i): the row as it came


class _Collected:
    """What has been read since the last batch was given."""

    def __init__(self, num_pieces: int, cleaning: CleaningOptions) -> None:
        self.set_aside = SetAsideRows()
        self._cleaning = cleaning
        self._num_pieces = num_pieces
        self._clear()

    def _clear(self) -> None:
        self._waiting = _Texts()
        self._characters = 0
        self._rows = 0
        self._lines = [0] * self._num_pieces
        self._piece: int | None = None
        self._changes: Counter[str] = Counter()

    @property
    def is_full(self) -> bool:
        return self._characters >= BATCH_BYTES

    def take(self) -> DocumentBatch:
        documents = self._cleaned()
        batch = DocumentBatch(
            documents,
            self.set_aside.take(),
            self._rows,
            tuple(self._lines),
            self._piece or 0,
            dict(self._changes),
        )
        self._clear()
        return batch

    def add_file(self, index: int, file: InputFile) -> None:
        """A text file: one document, whatever is in it."""
        self._begin(index)
        self._rows += 1
        data = b""
        try:
            with open_content(file) as stream:
                data = stream.read()
            text, encoding = decode_text(data)
        except UnreadableInput as error:
            self.set_aside.add(file.relative, 0, "unreadable_file", str(error), data)
        except UndecodableText as error:
            self.set_aside.add(file.relative, 0, "undecodable", str(error), data)
        else:
            if encoding != "utf-8":
                self._changes[f"decoded_{encoding}"] += 1
            self._add_text(text, file, data)

    def _add_text(self, text: str, file: InputFile, data: bytes) -> None:
        waiting = self._waiting
        waiting.texts.append(text)
        waiting.files.append(file.relative)
        waiting.places.append(0)
        waiting.own_ids.append(None)
        waiting.raws.append((lambda _: data, 0))
        self._characters += len(text)

    def add_rows(self, index: int, file: InputFile, batch: RowBatch, text_field: str, id_field: str) -> None:
        """Rows: one document each, where there is text in the field."""
        self._begin(index)
        self._rows += len(batch.rows) + batch.broken
        self._lines[index] += batch.lines_read
        found: list[Any] = [row.get(text_field) if type(row) is dict else None for row in batch.rows]
        kept = [number for number, text in enumerate(found) if type(text) is str]
        if len(kept) < len(found):
            self._set_aside_rows(
                file, batch, sorted(set(range(len(found))).difference(kept)), text_field, id_field
            )
        texts: list[str] = [found[number] for number in kept]
        waiting = self._waiting
        waiting.texts += texts
        waiting.files += [file.relative] * len(kept)
        waiting.places += [batch.places[number] for number in kept]
        waiting.own_ids += [own_id_text(batch.rows[number].get(id_field)) for number in kept]
        waiting.raws += [(batch.raw, number) for number in kept]
        self._characters += sum(map(len, texts))

    def _set_aside_rows(
        self, file: InputFile, batch: RowBatch, numbers: list[int], text_field: str, id_field: str
    ) -> None:
        for number in numbers:
            row = batch.rows[number]
            reason, detail = _why_no_text(row, text_field)
            own_id = own_id_text(row.get(id_field)) if isinstance(row, dict) else None
            self.set_aside.add(file.relative, batch.places[number], reason, detail, batch.raw(number), own_id)

    def _begin(self, index: int) -> None:
        if self._piece is None:
            self._piece = index

    def _cleaned(self) -> pa.Table:
        """The waiting texts, cleaned and hashed; those that cleaning leaves out are set aside."""
        waiting = self._waiting
        cleaned = clean_texts(waiting.texts, self._cleaning)
        self._changes.update(cleaned.changes)
        for row, (reason, detail) in cleaned.left_out.items():
            file, place, own_id = waiting.files[row], waiting.places[row], waiting.own_ids[row]
            raw, number = waiting.raws[row]
            self.set_aside.add(file, place, reason, detail, raw(number), own_id)
        table = pa.table(
            {
                "own_id": pa.array(waiting.own_ids, pa.string()),
                "place": pa.array(waiting.places, pa.int64()),
                "file": pa.array(waiting.files, pa.string()),
                "text": cleaned.texts,
                "hash": hash_column(cleaned.texts),
            },
            schema=DOCUMENT_SCHEMA,
        )
        if not cleaned.left_out:
            return table
        kept = pa.array([row not in cleaned.left_out for row in range(len(table))], pa.bool_())
        return table.filter(kept).combine_chunks()


def hash_column(column: pa.LargeStringArray) -> pa.Array:
    """`hashing.text_hash` of each text, taken from the column's bytes without making strings."""
    data, offsets = text_bytes(column)
    view, bounds = memoryview(data.data), offsets.tolist()
    digest = xxhash.xxh3_128_digest
    hashes = [digest(view[start:stop]) for start, stop in itertools.pairwise(bounds)]
    return pa.array(hashes, pa.binary(16))


def _why_no_text(row: Any, text_field: str) -> tuple[str, str]:
    if not isinstance(row, dict):
        return (
            "wrong_type",
            f"the row is {json_kind(row)} and must be an object with the field {text_field!r}",
        )
    if text_field not in row:
        names = ", ".join(list(row)[:12]) or "no field at all"
        return "missing_field", f"no field {text_field!r}; the row has {names}"
    if row[text_field] is None:
        return "empty", f"{text_field!r} is null"
    return "wrong_type", f"{text_field!r} is {json_kind(row[text_field])} and must be a string"


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
