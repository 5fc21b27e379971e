"""Cuts a source into chunks: what one worker reads, and what is stored as one result.

Plain JSON Lines files are cut into byte ranges (a line belongs to the range that holds its first byte),
Parquet files into runs of row groups, local Arrow files into runs of record batches; anything else is read
whole. Small whole files are grouped in order.

Guarantees: each byte, row group and record batch is in exactly one piece, in order of files; a piece of a
larger file is alone in its chunk; a file's chunks are about equally large, and of JSON Lines an even number, so
that of two workers none waits for the other. Where groups end depends on the names near by only: a file added or
removed regroups its neighbours, not the whole source. Price: a look at the footer of each Parquet and Arrow file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import xxhash

from tokenization.ingest.files import InputFile
from tokenization.ingest.tables import unit_bytes

WHOLE = -1


@dataclass(frozen=True)
class Piece:
    """A part of a file: bytes of JSON Lines, row groups of Parquet, batches of Arrow; (0, -1): all."""

    file: InputFile
    digest: str  # of the whole file
    start: int
    stop: int  # exclusive; -1 = to the end

    @property
    def is_byte_range(self) -> bool:
        """Whether places in it count lines from the piece's first, rather than from the file's."""
        return self.file.format == "jsonl" and self.stop != WHOLE


@dataclass(frozen=True)
class Chunk:
    """Pieces that are read together, in order."""

    pieces: tuple[Piece, ...]


def plan_chunks(
    files: Sequence[InputFile],
    digests: Sequence[str],
    chunk_bytes: int = 8 << 20,
    group_bytes: int = 256 << 10,
) -> list[Chunk]:
    """The chunks of these files, in order; `digests[i]` names the content of `files[i]`."""
    if chunk_bytes < 1 or group_bytes < 0:
        raise ValueError(
            f"chunk_bytes={chunk_bytes} must be positive and group_bytes={group_bytes} not negative"
        )
    chunks: list[Chunk] = []
    group: list[Piece] = []
    filled = 0  # stored bytes in the group
    for file, digest in zip(files, digests, strict=True):
        pieces = [Piece(file, digest, start, stop) for start, stop in _ranges(file, chunk_bytes)]
        alone = len(pieces) > 1 or file.size >= group_bytes
        if group and (alone or filled + file.size > group_bytes):
            chunks.append(Chunk(tuple(group)))
            group, filled = [], 0
        if alone:
            chunks.extend(Chunk((piece,)) for piece in pieces)
            continue
        group.extend(pieces)
        filled += file.size
        if _ends_group(file, group_bytes):
            chunks.append(Chunk(tuple(group)))
            group, filled = [], 0
    if group:
        chunks.append(Chunk(tuple(group)))
    return chunks


def _ends_group(file: InputFile, group_bytes: int) -> bool:
    """Decided by the name, more often for larger files, so that groups hold about half of `group_bytes`."""
    return (
        xxhash.xxh3_64_intdigest(file.relative.encode("utf-8", "surrogateescape")) % group_bytes
        < 2 * file.size
    )


def _ranges(file: InputFile, chunk_bytes: int) -> list[tuple[int, int]]:
    if file.compression is None and file.format == "jsonl":
        count = _shares(file.size, chunk_bytes)
        borders = [file.size * number // count for number in range(count + 1)]
        return list(pairwise(borders))
    if file.compression is None and file.format in ("parquet", "arrow"):
        sizes = unit_bytes(file)
        return _runs(sizes, chunk_bytes) if sizes else [(0, WHOLE)]
    return [(0, WHOLE)]


def _shares(size: int, chunk_bytes: int) -> int:
    """How many chunks of at most `chunk_bytes` a file of this size makes: one, or an even number."""
    count = max(1, -(-size // chunk_bytes))
    return count + count % 2 if 1 < count < size else count


def _runs(sizes: Sequence[int], chunk_bytes: int) -> list[tuple[int, int]]:
    """Runs of neighbours that come to at most an even share of `chunk_bytes`, or are one unit."""
    runs: list[tuple[int, int]] = []
    count = _shares(sum(sizes), chunk_bytes)
    share = -(-sum(sizes) // count)
    start, filled = 0, 0
    for index, size in enumerate(sizes):
        if index > start and filled + size > share:
            runs.append((start, index))
            start, filled = index, 0
        filled += size
    return [*runs, (start, len(sizes))]
