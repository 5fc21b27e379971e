"""Texts of any format as columns: what `corpus` cleans and hashes without making an object a row.

JSON Lines, Parquet and Arrow become columns directly where every row of a block is an ordinary one; other formats, and
blocks with a row that isn't, go row by row (see rows) and give the same. Rows without a text are set aside here.

Guarantees: rows read = texts + rows set aside. Memory: a block of about `BATCH_BYTES`, or one row that is larger.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tokenization.ingest.chunks import Piece
from tokenization.ingest.cleaning import text_column
from tokenization.ingest.json_blocks import ids_as_text, parse_block
from tokenization.ingest.json_kinds import json_kind
from tokenization.ingest.json_lines import iter_blocks, lines_of
from tokenization.ingest.opening import open_content
from tokenization.ingest.rows import (
    BATCH_BYTES,
    RawBlock,
    RowBatch,
    iter_rows,
    parsed_block,
    table_row,
    unreadable_rows,
)
from tokenization.ingest.set_aside import SetAsideRows
from tokenization.ingest.tables import iter_tables
from tokenization.ingest.text_fields import own_id_text


@dataclass(frozen=True)
class TextColumns:
    """Some texts of one piece, in order."""

    texts: pa.LargeStringArray  # [num_texts]  no nulls
    own_ids: pa.StringArray  # [num_texts]  null where the row has none
    places: NDArray[np.int64]  # int64 [num_texts]
    raw: Callable[[int], bytes]  # text i's row as it came
    rows_read: int  # = texts + rows set aside
    lines_read: int
    changes: dict[str, int] = field(default_factory=dict)  # what was done so that the texts could be columns


def iter_text_columns(
    piece: Piece, text_field: str, id_field: str, set_aside: SetAsideRows
) -> Iterator[TextColumns]:
    """The piece's texts; rows without one go into `set_aside`."""
    if piece.file.format == "jsonl":
        read = _of_lines
    elif piece.file.format in ("parquet", "arrow"):
        read = _of_tables
    else:
        read = _of_rows
    with_fields = (text_field, id_field)
    for found in unreadable_rows(piece, set_aside, read(piece, with_fields, set_aside)):
        yield found if isinstance(found, TextColumns) else _picked(piece, found, with_fields, set_aside)


Fields = tuple[str, str]  # of the text, of the id
Found = TextColumns | RowBatch


def _of_lines(piece: Piece, fields: Fields, set_aside: SetAsideRows) -> Iterator[Found]:
    first = 1
    with open_content(piece.file) as stream:
        for block in iter_blocks(stream, piece.start, piece.stop, BATCH_BYTES):
            columns = parse_block(block, *fields)
            if columns is None:
                lines = lines_of(block)
                rows = RawBlock(range(first, first + len(lines)), len(lines), lines)
                yield parsed_block(piece, rows, set_aside)
                first += len(lines)
                continue
            texts, own_ids = columns
            places = np.arange(first, first + len(texts), dtype=np.int64)
            yield TextColumns(texts, own_ids, places, _line(block), len(texts), len(texts))
            first += len(texts)


def _line(block: bytes) -> Callable[[int], bytes]:
    return lambda row: lines_of(block)[row]


def _of_tables(piece: Piece, fields: Fields, set_aside: SetAsideRows) -> Iterator[Found]:
    for first, table in iter_tables(piece, BATCH_BYTES):
        columns = _table_columns(table, fields)
        places = np.arange(first, first + table.num_rows, dtype=np.int64)
        raw = table_row(table)
        if columns is not None:
            yield TextColumns(*columns, places, raw, table.num_rows, 0)
            continue
        wanted = table.select([name for name in fields if name in table.schema.names])
        rows = wanted.to_pylist() if wanted.num_columns else [{}] * table.num_rows
        yield RowBatch(rows, places.tolist(), raw, 0, 0, from_table=True)


def _table_columns(
    table: pa.RecordBatch, fields: Fields
) -> tuple[pa.LargeStringArray, pa.StringArray] | None:
    """(texts, ids) where the text's column is one of sound strings, without a null."""
    names = table.schema.names
    text_field, id_field = fields
    if names.count(text_field) != 1 or names.count(id_field) > 1:
        return None
    texts = table.column(text_field)
    ids = table.column(id_field) if id_field in names else pa.nulls(len(texts), pa.string())
    strings = (pa.types.is_string(texts.type), pa.types.is_large_string(texts.type))
    if not any(strings) or texts.null_count or pa.types.is_dictionary(ids.type):
        return None
    try:
        texts.validate(full=True)
        ids.validate(full=True)
    except pa.ArrowInvalid:  # bytes that are no UTF-8
        return None
    return texts.cast(pa.large_string()), ids_as_text(ids)


def _of_rows(piece: Piece, fields: Fields, set_aside: SetAsideRows) -> Iterator[Found]:
    yield from iter_rows(piece, set_aside, fields)


def _picked(piece: Piece, batch: RowBatch, fields: Fields, set_aside: SetAsideRows) -> TextColumns:
    """The rows that have a text as columns; the others set aside."""
    text_field, id_field = fields
    found: list[Any] = [row.get(text_field) if type(row) is dict else None for row in batch.rows]
    kept = [number for number, text in enumerate(found) if type(text) is str]
    for number in sorted(set(range(len(found))).difference(kept)):
        row = batch.rows[number]
        reason, detail = _why_no_text(row, text_field)
        own_id = own_id_text(row.get(id_field)) if isinstance(row, dict) else None
        place = batch.places[number]
        set_aside.add(piece.file.relative, place, reason, detail, batch.raw(number), own_id)
    changes: dict[str, int] = {}
    return TextColumns(
        texts=text_column([found[number] for number in kept], changes),
        own_ids=pa.array([own_id_text(batch.rows[number].get(id_field)) for number in kept], pa.string()),
        places=np.array([batch.places[number] for number in kept], np.int64),
        raw=lambda row: batch.raw(kept[row]),
        rows_read=len(batch.rows) + batch.broken,
        lines_read=batch.lines_read,
        changes=changes,
    )


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
