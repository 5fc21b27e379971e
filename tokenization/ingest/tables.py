"""Parquet and Arrow files as record batches of bounded size.

Guarantees: rows in file order; a batch holds about `batch_bytes` at most, or one row that is larger. Broken
files raise `UnreadableInput`. Arrow files are memory-mapped where they are local: skipping to a piece costs
nothing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from tokenization.ingest.opening import UnreadableInput, open_bytes, open_content
from tokenization.object_store import is_url

if TYPE_CHECKING:
    from tokenization.ingest.chunks import Piece
    from tokenization.ingest.files import InputFile


def unit_bytes(file: InputFile) -> list[int]:
    """Bytes of each row group or record batch; empty where the file can't be cut (or can't be read)."""
    if file.size == 0 or (file.format == "arrow" and is_url(file.path)):
        return []
    try:
        with _broken_as_unreadable(file):
            if file.format == "parquet":
                return _row_group_bytes(file)
            with _arrow_reader(file) as reader:
                return [batch.nbytes for batch in _record_batches(reader, 0, -1)]
    except UnreadableInput:  # told again, with its place, when the file is read
        return []


def iter_tables(piece: Piece, batch_bytes: int) -> Iterator[tuple[int, pa.RecordBatch]]:
    """(1-based row of the batch's first row in the file, batch), for the rows of this piece."""
    with _broken_as_unreadable(piece.file):
        batches = _parquet_batches if piece.file.format == "parquet" else _arrow_batches
        yield from batches(piece, batch_bytes)


def column_names(file: InputFile) -> list[str]:
    """The top-level columns of a Parquet or Arrow file."""
    with _broken_as_unreadable(file):
        if file.format == "arrow":
            with _arrow_reader(file) as reader:
                return list(reader.schema.names)
        with _parquet_file(file) as parquet:
            return list(parquet.schema_arrow.names)


@contextlib.contextmanager
def _broken_as_unreadable(file: InputFile) -> Iterator[None]:
    try:
        yield
    except pa.ArrowException as error:
        raise UnreadableInput(f"{file.relative} is not valid {file.format}: {error}") from error
    except OSError as error:
        if error.errno is not None:  # pyarrow's complaints about the data carry no errno
            raise
        raise UnreadableInput(f"{file.relative} is not valid {file.format}: {error}") from error


@contextlib.contextmanager
def _parquet_file(file: InputFile) -> Iterator[Any]:
    import pyarrow.parquet as pq

    opened = open_bytes if file.compression is None else open_content
    with opened(file) as stream:
        source = stream if file.compression is None else pa.BufferReader(stream.read())
        yield pq.ParquetFile(source)


def _row_group_bytes(file: InputFile) -> list[int]:
    with _parquet_file(file) as parquet:
        metadata = parquet.metadata
        return [metadata.row_group(index).total_byte_size for index in range(metadata.num_row_groups)]


def _parquet_batches(piece: Piece, batch_bytes: int) -> Iterator[tuple[int, pa.RecordBatch]]:
    with _parquet_file(piece.file) as parquet:
        metadata = parquet.metadata
        stop = metadata.num_row_groups if piece.stop < 0 else piece.stop
        place = 1 + sum(metadata.row_group(index).num_rows for index in range(piece.start))
        for index in range(piece.start, stop):
            group = metadata.row_group(index)
            row_bytes = max(1, group.total_byte_size // max(1, group.num_rows))
            rows = max(1, min(batch_bytes // row_bytes, 1 << 16))
            for batch in parquet.iter_batches(batch_size=rows, row_groups=[index], use_threads=False):
                yield place, batch
                place += batch.num_rows


@contextlib.contextmanager
def _arrow_reader(file: InputFile) -> Iterator[Any]:
    """A reader of the file form or the stream form, whichever it is."""
    with contextlib.ExitStack() as stack:
        if file.compression is None and not is_url(file.path):
            stack.enter_context(open_bytes(file))  # checks that the file is still the one listed
            source: Any = stack.enter_context(pa.memory_map(file.path, "rb"))
        else:
            source = pa.BufferReader(stack.enter_context(open_content(file)).read())
        if source.read(6) == b"ARROW1":
            yield stack.enter_context(pa.ipc.open_file(source))
        else:
            source.seek(0)
            yield stack.enter_context(pa.ipc.open_stream(source))


def _record_batches(reader: Any, start: int, stop: int) -> Iterator[pa.RecordBatch]:
    if isinstance(reader, pa.ipc.RecordBatchFileReader):
        last = reader.num_record_batches if stop < 0 else stop
        yield from (reader.get_batch(index) for index in range(start, last))
        return
    for index, batch in enumerate(reader):
        if index >= start and (stop < 0 or index < stop):
            yield batch


def _arrow_batches(piece: Piece, batch_bytes: int) -> Iterator[tuple[int, pa.RecordBatch]]:
    with _arrow_reader(piece.file) as reader:
        place = 1
        for index, batch in enumerate(_record_batches(reader, 0, piece.stop)):
            if index >= piece.start:
                yield from _slices(place, batch, batch_bytes)
            place += batch.num_rows


def _slices(place: int, batch: pa.RecordBatch, batch_bytes: int) -> Iterator[tuple[int, pa.RecordBatch]]:
    rows = max(1, batch_bytes * max(1, batch.num_rows) // max(1, batch.nbytes))
    for start in range(0, batch.num_rows, rows):
        yield place + start, batch.slice(start, rows)
