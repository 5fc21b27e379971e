"""Rows of any format, as parsed values in bounded batches: what documents and sessions are both made of.

JSON Lines, JSON values, CSV, Parquet and Arrow all become `RowBatch`. What can't be parsed goes into the
caller's `SetAsideRows` with its place; a file that breaks halfway keeps the batches before the break and is
named once, with place 0 and reason `unreadable_file`.

Guarantees: places count from 1; lines in lines of the piece, everything else in rows of the file. Memory: a
batch comes from about `BATCH_BYTES` of decompressed input, or from one row that is larger.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import orjson
import pyarrow as pa

from tokenization.ingest.chunks import Piece
from tokenization.ingest.delimited import CellBatch, iter_cells
from tokenization.ingest.json_lines import count_lines, iter_blocks, lines_of
from tokenization.ingest.json_values import iter_values
from tokenization.ingest.opening import UnreadableInput, open_content
from tokenization.ingest.set_aside import SetAsideRows
from tokenization.ingest.tables import iter_tables

Batch = TypeVar("Batch")

BATCH_BYTES = 8 << 20


@dataclass(frozen=True)
class RowBatch:
    """Parsed rows of one piece."""

    rows: list[Any]
    places: list[int]  # [len(rows)]
    raw: Callable[[int], bytes]  # row i as it came
    lines_read: int  # lines this batch took, blank and broken ones included; 0 where rows aren't lines
    broken: int  # rows of this batch that were set aside already
    from_table: bool = False  # Arrow can't tell an absent struct field from a null one


def iter_rows(
    piece: Piece,
    set_aside: SetAsideRows,
    columns: Sequence[str] | None = None,
    batch_bytes: int = BATCH_BYTES,
) -> Iterator[RowBatch]:
    """The rows of a piece; `columns` says which ones of a table are wanted (rows kept raw are whole)."""
    if piece.file.format == "text":
        told = f"{piece.file.relative} is plain text; rows come as JSON, CSV, Parquet or Arrow"
        set_aside.add(piece.file.relative, 0, "unreadable_file", told, b"")
        yield RowBatch([], [], lambda _: b"", 0, 1)
        return
    read = _READERS.get(piece.file.format, _table_rows)
    yield from unreadable_rows(piece, set_aside, read(piece, set_aside, columns, batch_bytes))


def unreadable_rows(
    piece: Piece, set_aside: SetAsideRows, batches: Iterator[Batch]
) -> Iterator[Batch | RowBatch]:
    """The batches; where reading breaks off, the file is set aside with what came before kept."""
    try:
        yield from batches
    except UnreadableInput as error:
        set_aside.add(piece.file.relative, 0, "unreadable_file", str(error), b"")
        yield RowBatch([], [], lambda _: b"", 0, 1)


def _json_rows(
    piece: Piece, set_aside: SetAsideRows, columns: Sequence[str] | None, batch_bytes: int
) -> Iterator[RowBatch]:
    for block in raw_blocks(piece, batch_bytes):
        yield parsed_block(piece, block, set_aside)


@dataclass(frozen=True)
class RawBlock:
    """Rows of JSON as they came: values, or lines that are cut only where somebody asks for one."""

    places: Sequence[int]  # [num_rows]
    lines_read: int  # as in RowBatch
    values: list[bytes] | None = None  # one of the two
    lines: bytes = b""

    @cached_property
    def raws(self) -> list[bytes]:
        """Each row, [num_rows]."""
        return lines_of(self.lines) if self.values is None else self.values

    @property
    def first(self) -> bytes:
        """The first row; nothing where there is none."""
        if self.values is not None:
            return self.values[0] if self.values else b""
        end = self.lines.find(b"\n")
        return self.lines if end < 0 else self.lines[:end]

    @property
    def joined(self) -> bytes:
        """All rows, a line feed between."""
        return self.lines if self.values is None else b"\n".join(self.values)


def raw_blocks(piece: Piece, batch_bytes: int = BATCH_BYTES) -> Iterator[RawBlock]:
    """The rows of a piece of JSON or JSON Lines, not parsed yet. Raises `UnreadableInput` where it breaks off."""
    place = 1
    with open_content(piece.file) as stream:
        is_lines = piece.file.format == "jsonl"
        if is_lines:
            for lines in iter_blocks(stream, piece.start, piece.stop, batch_bytes):
                count = count_lines(lines)
                yield RawBlock(range(place, place + count), count, lines=lines)
                place += count
            return
        for values in iter_values(stream, batch_bytes):
            yield RawBlock(range(place, place + len(values)), 0, values)
            place += len(values)


def parsed_block(piece: Piece, block: RawBlock, set_aside: SetAsideRows) -> RowBatch:
    """Parses each value; most blocks have no broken one and pay for no more than the parsing."""
    loads, raws, lines_read = orjson.loads, block.raws, block.lines_read
    try:
        rows: list[Any] = [loads(raw) for raw in raws]
        return RowBatch(rows, list(block.places), raws.__getitem__, lines_read, 0)
    except orjson.JSONDecodeError:
        pass
    rows, places, kept = [], [], []
    broken = 0
    for place, raw in zip(block.places, raws, strict=True):
        if not raw.strip():
            continue
        try:
            rows.append(parse_json(raw))
        except ValueError as error:
            broken += 1
            set_aside.add(piece.file.relative, place, *_why_broken(raw, error), raw)
            continue
        places.append(place)
        kept.append(raw)
    return RowBatch(rows, places, kept.__getitem__, lines_read, broken)


def parse_json(raw: bytes) -> Any:
    """The value, lone surrogates in strings included (orjson refuses them; cleaning replaces them)."""
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        if b"\\u" not in raw:
            raise
        try:
            return json.loads(raw, parse_constant=_no_constant)
        except (ValueError, RecursionError):
            raise error from None


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _why_broken(raw: bytes, error: ValueError) -> tuple[str, str]:
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError as bad:
        return "undecodable", f"the row is not UTF-8 at byte {bad.start}; convert the file to UTF-8"
    return "invalid_json", f"not valid JSON: {error}"


def _cell_rows(
    piece: Piece, set_aside: SetAsideRows, columns: Sequence[str] | None, batch_bytes: int
) -> Iterator[RowBatch]:
    with open_content(piece.file) as stream:
        for batch in iter_cells(stream, piece.file.format, batch_bytes):
            for place, cells, detail in batch.broken:
                set_aside.add(piece.file.relative, place, "invalid_row", detail, orjson.dumps(cells))
            yield RowBatch(list(batch.rows), batch.places, _raw_cells(batch), 0, len(batch.broken))


def _raw_cells(batch: CellBatch) -> Callable[[int], bytes]:
    return lambda row: table_row_json(batch.rows[row])


def _table_rows(
    piece: Piece, set_aside: SetAsideRows, columns: Sequence[str] | None, batch_bytes: int
) -> Iterator[RowBatch]:
    for first, table in iter_tables(piece, batch_bytes):
        wanted = table if columns is None else table.select([c for c in columns if c in table.schema.names])
        rows = wanted.to_pylist() if wanted.num_columns else [{}] * table.num_rows
        places = list(range(first, first + len(rows)))
        yield RowBatch(rows, places, table_row(table), 0, 0, from_table=True)


def table_row(table: pa.RecordBatch) -> Callable[[int], bytes]:
    return lambda row: table_row_json(table.slice(row, 1).to_pylist()[0])


def table_row_json(row: Any) -> bytes:
    """A table's row as JSON; what JSON has no form for is written as text."""
    try:
        return orjson.dumps(row, default=str)
    except TypeError:  # a lone surrogate, a huge integer, a key that is no string, deep nesting
        return json.dumps(row, default=str).encode()


_READERS: dict[str, Callable[[Piece, SetAsideRows, Sequence[str] | None, int], Iterator[RowBatch]]] = {
    "jsonl": _json_rows,
    "json": _json_rows,
    "csv": _cell_rows,
    "tsv": _cell_rows,
}
