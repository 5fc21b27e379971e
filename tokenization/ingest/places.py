"""From places within a piece to places within the file.

A worker that reads bytes 8 MiB to 16 MiB of a file doesn't know how many lines stand before them. It counts
lines from its piece's first, and says how many it saw; once all chunks are read, a running sum gives the
rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa
import pyarrow.compute as pc

from tokenization.ingest.chunks import Chunk


class Counted(Protocol):
    """What a batch of documents or sessions says about what was read for it."""

    @property
    def rows_read(self) -> int:
        """Rows, kept or set aside; blank lines are none."""

    @property
    def lines_read(self) -> Sequence[int]:
        """Lines read for each piece of the chunk."""


@dataclass(frozen=True)
class ChunkCounts:
    """What reading a whole chunk came to."""

    rows_read: int
    lines_per_piece: list[int]  # blank lines included; 0 for pieces that aren't lines


def chunk_counts(chunk: Chunk, batches: Iterable[Counted]) -> ChunkCounts:
    """The sum over the batches that a chunk gave."""
    rows, lines = 0, [0] * len(chunk.pieces)
    for batch in batches:
        rows += batch.rows_read
        lines = [total + more for total, more in zip(lines, batch.lines_read, strict=True)]
    return ChunkCounts(rows, lines)


def line_offsets(chunks: Sequence[Chunk], counts: Sequence[ChunkCounts]) -> list[int]:
    """For each chunk, the lines of its file that stand before it: what `absolute_places` adds.

    A chunk of several files, or of a whole one, has 0.
    """
    before: dict[str, int] = {}  # relative path -> lines counted so far
    offsets: list[int] = []
    for chunk, count in zip(chunks, counts, strict=True):
        first = chunk.pieces[0]
        offsets.append(before.get(first.file.relative, 0) if first.is_byte_range else 0)
        for piece, lines in zip(chunk.pieces, count.lines_per_piece, strict=True):
            before[piece.file.relative] = before.get(piece.file.relative, 0) + lines
    return offsets


def absolute_places(table: pa.Table, offset: int) -> pa.Table:
    """The table with `offset` added to its places; 0 (the whole file) stays 0."""
    if offset == 0:
        return table
    places = table.column("place")
    moved = pc.if_else(pc.equal(places, 0), places, pc.add(places, offset))
    index = table.schema.get_field_index("place")
    return table.set_column(index, table.schema.field(index), moved)
