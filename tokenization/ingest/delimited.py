"""CSV and TSV as rows of strings, with quoted line breaks, in batches of bounded size.

Guarantees: the header names the fields; a row with more or fewer cells than the header is not a row. Bytes
that aren't UTF-8 are decoded as the file's beginning suggests. Places count rows behind the header, from 1.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO, cast

from tokenization.ingest.decoding import SAMPLE_BYTES, UndecodableText, decode_text
from tokenization.ingest.opening import UnreadableInput

DELIMITERS = {"csv": ",", "tsv": "\t"}


@dataclass
class CellBatch:
    """Rows as read, and those whose cells don't fit the header."""

    rows: list[dict[str, str]] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    broken: list[tuple[int, list[str], str]] = field(default_factory=list)  # (place, cells, detail)


def iter_cells(stream: BinaryIO, format: str, batch_bytes: int) -> Iterator[CellBatch]:
    """The rows of a CSV or TSV file. Raises `UnreadableInput` where the rest can't be read."""
    csv.field_size_limit(1 << 30)  # the default of 128 KiB is below a long document
    if not hasattr(stream, "peek"):  # fsspec's files
        stream = cast(BinaryIO, io.BufferedReader(cast(io.RawIOBase, stream), 1 << 20))
    text = io.TextIOWrapper(stream, encoding=_encoding(stream), newline="")
    rows = csv.reader(text, delimiter=DELIMITERS[format])
    try:
        yield from _batches(rows, batch_bytes)
    except (csv.Error, UnicodeDecodeError) as error:
        raise UnreadableInput(f"line {rows.line_num}: {error}") from error
    finally:
        text.detach()


def _encoding(stream: BinaryIO) -> str:
    head: bytes = stream.peek(SAMPLE_BYTES)[:SAMPLE_BYTES]  # type: ignore[attr-defined]
    try:
        encoding = decode_text(head.rpartition(b"\n")[0] or head)[1]
    except UndecodableText:
        return "utf-8"
    return "utf-8-sig" if encoding.startswith("utf-8") else encoding


def _batches(rows: Iterator[list[str]], batch_bytes: int) -> Iterator[CellBatch]:
    header = next(rows, None)
    if header is None:
        return
    batch, filled = CellBatch(), 0
    for place, cells in enumerate(rows, 1):
        if len(cells) == len(header):
            batch.rows.append(dict(zip(header, cells, strict=True)))
            batch.places.append(place)
        elif cells:
            batch.broken.append((place, cells, f"{len(cells)} cells where the header has {len(header)}"))
        filled += sum(map(len, cells))
        if filled >= batch_bytes:
            yield batch
            batch, filled = CellBatch(), 0
    yield batch
