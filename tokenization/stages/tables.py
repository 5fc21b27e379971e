"""Arrow files: written whole, read memory-mapped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


def write_table(table: pa.Table, path: Path) -> None:
    """An uncompressed Arrow IPC file: mapped at once when read."""
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)


def open_table(path: Path) -> pa.Table:
    """The table, its buffers mapped from the file."""
    with pa.memory_map(str(path)) as source:
        return pa.ipc.open_file(source).read_all()


def read_batches(path: Path, columns: list[str]) -> Iterator[pa.RecordBatch]:
    """These columns of a table, a stored batch at a time, read rather than mapped: what was looked at does not stay in
    the process's memory."""
    with pa.OSFile(str(path)) as source:
        names = pa.ipc.open_file(source).schema.names
        source.seek(0)
        options = pa.ipc.IpcReadOptions(included_fields=[names.index(name) for name in columns])
        reader = pa.ipc.open_file(source, options=options)
        for number in range(reader.num_record_batches):
            yield reader.get_batch(number).select(columns)


def write_arrays(arrays: Mapping[str, NDArray[Any]], path: Path) -> None:
    """Arrays of one dimension, each of its own length, as one row of lists: a file in place of one an array."""
    lists = [
        pa.LargeListArray.from_arrays(np.array([0, len(values)]), pa.array(values))
        for values in arrays.values()
    ]
    write_table(pa.table(lists, names=list(arrays)), path)


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """What `write_arrays` wrote, mapped from the file where its values take whole bytes."""
    table = open_table(path)
    return {
        name: table.column(name).combine_chunks().flatten().to_numpy(zero_copy_only=False)
        for name in table.column_names
    }


def mapped(path: Path, dtype: np.dtype[Any]) -> NDArray[Any]:
    """A file of plain values, memory-mapped; an empty array for an empty file."""
    return np.memmap(path, dtype, mode="r") if path.stat().st_size else np.zeros(0, dtype)


class TableWriter:
    """Writes tables of one schema, one after another, into one Arrow file; none is held."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._sink: pa.NativeFile | None = None
        self._writer: pa.RecordBatchFileWriter | None = None

    def __enter__(self) -> TableWriter:
        self._sink = pa.OSFile(str(self._path), "wb")
        return self

    def write(self, table: pa.Table) -> None:
        """The next rows; the first table sets the schema, so at least one must come."""
        if self._writer is None:
            self._writer = pa.ipc.new_file(self._sink, table.schema)
        self._writer.write_table(table)

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()
        if self._sink is not None:
            self._sink.close()
