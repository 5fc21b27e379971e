"""Encoded documents, piece by piece: a document is encoded once for a tokenizer, whatever is chosen beside it.

A *piece* is one tokens object: some rows of one chunk. All pieces of a chunk begin their key with the chunk's own
(`GROUP-ROWS`), so what is encoded already is what the store lists under that beginning. Another selection (another
seed, another share, a duplicate more or less) takes the rows it needs from the pieces there are and encodes the others,
as a new piece.

Which piece a row is taken from depends on what was built before; its tokens do not. So nothing that names a result says
anything of pieces: a source's tokens are named by chunks and rows, and windows by sequences.

Price: one listing and one small table a chunk; encoding only for rows that no piece has.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tokenization.hashing import key_of
from tokenization.stages import text_tokens
from tokenization.stages.documents import load_index
from tokenization.stages.running import run_jobs
from tokenization.stages.tables import open_table
from tokenization.stages.workspace import Workspace
from tokenization.store import Store

CODE = "3"

Rows = NDArray[np.int32]


@dataclass(frozen=True)
class Encoded:
    """Pieces that together hold every chosen document of a source; parallel lists."""

    pieces: list[str]  # keys of tokens objects; a row that several hold is taken from the first
    chunks: list[int]  # the chunk that each is of
    workers: int
    name: list[Any]  # JSON-able: what was encoded, without the pieces


@dataclass(frozen=True)
class Places:
    """Where the chosen documents' tokens lie, in the order of the index; parallel arrays [num_chosen]."""

    item: NDArray[np.int64]  # row of the source's index
    object: NDArray[np.int32]  # number of the piece
    begin: NDArray[np.int64]  # first token in the piece's ids.bin
    length: NDArray[np.int32]
    characters: NDArray[np.int64]  # of the text that was encoded
    bytes: NDArray[np.int64]


def encode(workspace: Workspace, name: str, chosen: NDArray[np.bool_]) -> Encoded:
    """Encode what no piece holds yet of the source's chosen documents (bool, one a row of its index)."""
    chunks = workspace.result("documents", name).value["chunks"]
    depends = text_tokens.depends(workspace)
    sizes = load_index(workspace, name).column("size").to_numpy()
    pieces: list[str] = []
    numbers: list[int] = []
    jobs: list[text_tokens.EncodeJob] = []
    described: list[Any] = []
    work = 0
    for number, (items, rows) in enumerate(rows_by_chunk(workspace, name, len(chunks), chosen)):
        if not len(rows):
            continue
        group = key_of("tokens", CODE, chunks[number], *depends)
        described.append([group, key_of(rows.tobytes().hex())])
        used, missing = held(workspace, group, rows)
        if len(missing):
            key = f"{group}-{key_of(missing.tobytes().hex())}"
            jobs.append(text_tokens.job(workspace, chunks[number], missing, key))
            used.append(key)
            work += int(sizes[items[np.searchsorted(rows, missing)]].sum())
        pieces += used
        numbers += [number] * len(used)
    _, workers = run_jobs(workspace, "tokens", text_tokens.encode_chunk, jobs, work, name, threads=True)
    return Encoded(pieces, numbers, workers, described)


def held(workspace: Workspace, group: str, rows: Rows) -> tuple[list[str], Rows]:
    """(the pieces to take rows from, the rows that none holds); the piece with most of them first."""
    exact = f"{group}-{key_of(rows.tobytes().hex())}"
    if workspace.keep("tokens", exact):
        return [exact], rows[:0]
    found = [(key, piece_rows(workspace.store, key)) for key in workspace.store.members("tokens", group)]
    common = [(key, np.isin(rows, own, assume_unique=True)) for key, own in found if own is not None]
    common.sort(key=lambda pair: (-int(pair[1].sum()), pair[0]))
    missing = np.ones(len(rows), bool)
    used = []
    for key, here in common:
        if (here & missing).any() and workspace.keep("tokens", key):
            used.append(key)
            missing &= ~here
    return used, np.ascontiguousarray(rows[missing])


def piece_rows(store: Store, key: str) -> Rows | None:
    """The rows of its chunk that a piece holds, int32, ascending; None where it was pruned a moment ago."""
    try:
        rows: Rows = open_table(store.path("tokens", key) / "sequences.arrow").column("row").to_numpy()
    except FileNotFoundError:
        return None
    return rows


def places(
    workspace: Workspace, name: str, chosen: NDArray[np.bool_], pieces: Iterable[tuple[str, int]]
) -> Places:
    """Where each chosen document lies, given (piece, its chunk) in order."""
    index = load_index(workspace, name)
    chunk_of, row_of = index.column("chunk").to_numpy(), index.column("row").to_numpy()
    item = np.flatnonzero(chosen)
    slot = np.full(len(index), -1, np.int64)
    slot[item] = np.arange(len(item))
    begin, characters, size = np.zeros((3, len(item)), np.int64)
    found = Places(
        item, np.full(len(item), -1, np.int32), begin, np.zeros(len(item), np.int32), characters, size
    )
    for number, (key, chunk) in reversed(
        list(enumerate(pieces))
    ):  # the first that holds a row is the last to say
        table = open_table(workspace.store.path("tokens", key) / "sequences.arrow")
        first, last = np.searchsorted(chunk_of, [chunk, chunk + 1])
        rows, length = table.column("row").to_numpy(), table.column("length").to_numpy()
        at = np.searchsorted(row_of[first:last], rows)
        inside = at < last - first  # a limit may have left the chunk's last rows out of the index
        target = np.where(inside, slot[first + np.minimum(at, max(last - first - 1, 0))], -1)
        taken = target >= 0
        found.object[target[taken]] = number
        found.begin[target[taken]] = (np.cumsum(length, dtype=np.int64) - length)[taken]
        found.length[target[taken]] = length[taken]
        found.characters[target[taken]] = table.column("characters").to_numpy()[taken]
        found.bytes[target[taken]] = table.column("bytes").to_numpy()[taken]
    assert bool((found.object >= 0).all()), f"{name}: a chosen document that no piece holds"
    return found


def rows_by_chunk(
    workspace: Workspace, name: str, chunks: int, chosen: NDArray[np.bool_]
) -> list[tuple[NDArray[np.int64], Rows]]:
    """For each chunk, its chosen rows: (where they stand in the index, their numbers in the chunk), ascending."""
    index = load_index(workspace, name)
    items = np.flatnonzero(chosen)
    rows = index.column("row").to_numpy()[items]
    borders = np.searchsorted(index.column("chunk").to_numpy()[items], np.arange(chunks + 1))
    return [
        (items[borders[i] : borders[i + 1]], np.ascontiguousarray(rows[borders[i] : borders[i + 1]]))
        for i in range(chunks)
    ]
