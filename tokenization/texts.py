"""Columns of texts: searched, put together and taken apart without a Python object a text, and without the GIL.

    containing  which texts hold a part
    joined      columns and constants side by side
    Pieces      texts made of numbered pieces: what templates and JSON write around what people said
    escaped     as JSON writes a text between its quotes

Workers are threads (see engine), so what counts is not only the time of a step but whether others can run beside it:
searches are polars', copies are Arrow's `take`; both let go of the GIL, which `bytes.find` and `bytes.replace` do not.
Price: a search 0.2 ms a MB, pieces some 15 ns each and a copy of their bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tokenization.scanning import places_where
from tokenization.sequences import BoolArray, IntArray

# What JSON escapes with one byte more; the rest of the control characters are rare.
_ESCAPES = {"\\": b"\\\\", '"': b'\\"', "\n": b"\\n", "\r": b"\\r", "\t": b"\\t"}
_ESCAPE_NUMBER = np.full(256, -1)  # of a byte, the place of its escape
_ESCAPE_NUMBER[[ord(raw) for raw in _ESCAPES]] = np.arange(len(_ESCAPES))


def containing(texts: pa.Array, part: str) -> BoolArray:
    """Which texts (string or large_string) hold this part, bool [num_texts]; a null holds every part."""
    import polars as pl

    column = pl.Series("texts", pl.from_arrow(texts), dtype=pl.String)
    found: BoolArray = column.str.contains(part, literal=True).fill_null(True).to_numpy()
    return found


def joined(*parts: str | pa.Array) -> pa.LargeStringArray:
    """Texts put together row by row: columns (large_string) and constants; null where a column is."""
    typed = [pa.scalar(part, pa.large_string()) if isinstance(part, str) else part for part in parts]
    return pc.binary_join_element_wise(*typed, pa.scalar("", pa.large_string()))


def edges_of(texts: pa.Array) -> NDArray[Any]:
    """Where each text's bytes begin in the array's buffer, and the end: int32, or int64 of large arrays,
    [num_texts + 1]."""
    is_large = pa.types.is_large_string(texts.type) or pa.types.is_large_binary(texts.type)
    every = np.frombuffer(texts.buffers()[1], np.int64 if is_large else np.int32)
    return every[texts.offset : texts.offset + len(texts) + 1]


@dataclass(frozen=True)
class Pieces:
    """Numbered texts of which others are made."""

    column: pa.LargeBinaryArray

    @classmethod
    def of(cls, *columns: pa.Array | Sequence[bytes]) -> Pieces:
        """The pieces of all columns, numbered through."""
        arrays = [
            column.cast(pa.large_binary())
            if isinstance(column, pa.Array)
            else pa.array(column, pa.large_binary())
            for column in columns
        ]
        return cls(arrays[0] if len(arrays) == 1 else pa.concat_arrays(arrays))

    def laid_out(self, numbers: IntArray) -> tuple[pa.Buffer, IntArray]:
        """These pieces end to end; where each one begins, and the end: int64 [len(numbers) + 1]."""
        taken = self.column.take(pa.array(numbers))
        ends = np.frombuffer(taken.buffers()[1], np.int64)[: len(numbers) + 1]
        return taken.buffers()[2], ends

    def written(
        self, numbers: IntArray, borders: IntArray, is_null: BoolArray | None = None
    ) -> pa.LargeStringArray:
        """Text i is of pieces `numbers[borders[i]:borders[i + 1]]`: large_string [len(borders) - 1]."""
        data, ends = self.laid_out(numbers)
        nulls = is_null is not None and is_null.any()
        valid = pa.py_buffer(np.packbits(~is_null, bitorder="little")) if nulls else None  # type: ignore[operator]
        return pa.LargeStringArray.from_buffers(len(borders) - 1, pa.py_buffer(ends[borders]), data, valid)


def escaped(texts: pa.Array) -> tuple[pa.LargeBinaryArray, BoolArray]:
    """Texts as JSON writes them between its quotes (a null as nothing); and which have a rare control character, which
    is left as it was."""
    edges = edges_of(texts)
    first, last = int(edges[0]), int(edges[-1])
    data = texts.buffers()[2]
    flat = np.zeros(0, np.uint8) if data is None else np.frombuffer(data, np.uint8)[first:last]
    begins = (edges - first).astype(np.int64)
    at, others = escapes_in(flat)
    rare = np.zeros(len(texts), bool)
    rare[np.searchsorted(begins, others, side="right") - 1] = True
    # Runs of text and single escaped characters in turn; in place of the latter their escapes are taken.
    cuts = np.empty(2 * len(at) + 2, np.int64)
    cuts[0], cuts[-1] = 0, len(flat)
    cuts[1:-1:2], cuts[2:-1:2] = at, at + 1
    runs = pa.LargeBinaryArray.from_buffers(
        pa.large_binary(), len(cuts) - 1, [None, pa.py_buffer(cuts), pa.py_buffer(flat)]
    )
    numbers = np.arange(len(cuts) - 1)
    numbers[1::2] = len(numbers) + _ESCAPE_NUMBER[flat[at]]
    written, _ = Pieces.of(runs, [*_ESCAPES.values()]).laid_out(numbers)
    begins += np.searchsorted(at, begins)
    made = pa.LargeBinaryArray.from_buffers(
        pa.large_binary(), len(texts), [None, pa.py_buffer(begins), written]
    )
    return made, rare


def escapes_in(flat: NDArray[np.uint8]) -> tuple[IntArray, IntArray]:
    """Where the bytes stand for which JSON takes two, and where the rare control characters, for which it takes six."""
    at = places_where(flat, lambda piece: (piece < 0x20) | (piece == ord('"')) | (piece == ord("\\")))
    is_short = _ESCAPE_NUMBER[flat[at]] >= 0
    return at[is_short], at[~is_short]
