"""Write one shard: gather the plan's tokens from the token objects, in batches, straight into Arrow.

Segments that follow each other in their object and in the window are one run: text laid end to end is about one run a
window. Long runs are read from the object's file to where they belong; short ones (best fit) are gathered as byte
strings, first from each object that the batch touches, then into the order of the batch. Nothing stays mapped, so
memory does not follow the tokens. Text is all targets but the first token of each segment (nothing in the segment
predicts it), padding never is.

Guarantees: bytes depend on the plan and the tokens only. Price: about 1 ns a token of text, 30 ns with sessions of
130 tokens, names of items included, while items.parquet is written beside.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tokenization.errors import BuildError
from tokenization.sequences import TokenArray, gathered, offsets_of
from tokenization.shards import Written, batch_of, write_shard
from tokenization.stages.tables import mapped, open_table
from tokenization.stages.windows import KINDS, Rows
from tokenization.windows.mixture import PRETRAIN

BATCH_TOKENS = 2 << 20  # 8 MB of ids a batch: stays in cache-sized pieces, bounds memory
LONG_RUN = 512  # tokens: a read costs about 2 us, a gather some ns a token


@dataclass(frozen=True)
class ShardJob:
    """Rows `first:last` of a split's plan, to be written to `path`."""

    path: Path
    plan: Path
    split: str
    first: int
    last: int
    names: tuple[str, ...]  # of the sources
    objects: tuple[tuple[Path, ...], ...]  # [source][object]
    places: tuple[Path, ...]  # [source]  where its sequences lie: one row each, object and begin
    indices: tuple[Path, ...]  # [source]  the source's index.arrow
    window: int | None
    pad_token_id: int


def write_shard_job(job: ShardJob) -> Written:
    """Write the shard; what stands in it."""
    rows = Rows.load(job.plan, job.split)
    return write_shard(job.path, shard_batches(job, rows), job.window, "weight" in rows.segments)


def shard_batches(job: ShardJob, rows: Rows) -> Iterator[pa.RecordBatch]:
    """The shard's rows, a bounded number of tokens at a time."""
    row = job.first
    while row < job.last:
        last = row + 1
        tokens = int(rows.width[row])
        while last < job.last and tokens + int(rows.width[last]) <= BATCH_TOKENS:
            tokens += int(rows.width[last])
            last += 1
        yield gather(job, rows, row, last)
        row = last


def gather(job: ShardJob, rows: Rows, first: int, last: int) -> pa.RecordBatch:
    """Rows `first:last` as one record batch."""
    width = rows.width[first:last]
    row_offsets = np.concatenate([[0], np.cumsum(width)]).astype(np.int64)
    segments = slice(int(rows.offsets[first]), int(rows.offsets[last]))
    part = {name: values[segments] for name, values in rows.segments.items()}
    counts = np.diff(rows.offsets[first : last + 1])
    row_of = np.repeat(np.arange(last - first), counts)
    length = part["length"].astype(np.int64)
    before = np.cumsum(length) - length
    first_of_row = before[np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(np.int64)]
    place = row_offsets[:-1][row_of] + before - first_of_row[row_of]  # where each segment begins in the batch

    ids = np.empty(int(row_offsets[-1]), stored_dtype(job))
    mask = np.ones(int(row_offsets[-1]), np.bool_)  # text is a target throughout
    pretrain = rows.kind[first:last][row_of] == PRETRAIN
    group, begin = find_tokens(job, part)
    fill(by_object(job, group), Runs(begin, place, length), ids, mask)
    mask[place] = False  # the first token of a segment: nothing in the segment predicts it
    used = np.add.reduceat(length, np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(np.int64))
    for row in np.flatnonzero(used < width).tolist():
        padding = slice(int(row_offsets[row] + used[row]), int(row_offsets[row + 1]))
        ids[padding], mask[padding] = job.pad_token_id, False
    ids = ids.astype(np.int32) if ids.itemsize == 2 else ids.view(np.int32)  # uint32 ids are below 2^31
    assert bool((pretrain | (part["length"] == part["whole"])).all()), "a session is never cut by packing"
    lengths, offsets, columns, weights = segment_columns(job, part, counts, width - used, length)
    return batch_of(
        input_ids=ids,
        loss_mask=mask,
        row_offsets=row_offsets,
        segment_offsets=offsets,
        segments={**columns, "length": lengths},
        kinds=pa.array(np.array(KINDS, dtype=object)[rows.kind[first:last]], pa.string()),
        window=job.window,
        loss_weights=weights,
    )


def find_tokens(job: ShardJob, part: dict[str, NDArray[Any]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where each segment's tokens lie: (source and object as one number, first token in the object)."""
    group = np.empty(len(part["source"]), np.int64)
    begin = np.empty(len(group), np.int64)
    for source in np.unique(part["source"]):
        where = np.flatnonzero(part["source"] == source)
        places = open_table(job.places[int(source)])
        sequence = part["sequence"][where]
        group[where] = int(source) << 32 | places.column("object").to_numpy()[sequence].astype(np.int64)
        begin[where] = places.column("begin").to_numpy()[sequence] + part["start"][where]
    return group, begin


def segment_columns(
    job: ShardJob,
    part: dict[str, NDArray[Any]],
    counts: NDArray[np.int64],
    padding: NDArray[np.int64],
    length: NDArray[np.int64],
) -> tuple[pa.Array, NDArray[np.int64], dict[str, pa.Array], NDArray[np.float32] | None]:
    """Lengths, offsets, descriptions and weights of the rows' segments, a padding segment last where a row has
    padding."""
    has_padding = padding > 0
    new_counts = counts + has_padding
    offsets = np.concatenate([[0], np.cumsum(new_counts)]).astype(np.int64)
    is_padding = np.zeros(int(offsets[-1]), bool)
    is_padding[(offsets[1:] - 1)[has_padding]] = True
    lengths = np.empty(len(is_padding), np.int32)
    lengths[~is_padding] = part["length"]
    lengths[is_padding] = padding[has_padding]
    starts = np.zeros(len(is_padding), np.int64)
    starts[~is_padding] = part["start"]
    weights = None
    if "weight" in part:
        weights = np.zeros(len(is_padding), np.float32)
        weights[~is_padding] = part["weight"]
    slot = np.full(len(is_padding), -1, np.int64)
    slot[~is_padding] = np.arange(len(length))
    take = pa.array(slot, mask=is_padding)
    names = pa.array(list(job.names)).take(pa.array(part["source"]))
    items = item_names(job, part)
    return (
        pa.array(lengths),
        offsets,
        {
            "source": pc.fill_null(names.take(take), ""),
            "item": pc.fill_null(items.take(take), ""),
            "start": pa.array(starts),
        },
        weights,
    )


def item_names(job: ShardJob, part: dict[str, NDArray[Any]]) -> pa.Array:
    """Each segment's item id; `ID#k` for the k-th cut of a session."""
    found: list[pa.Array] = []
    places: list[NDArray[np.int64]] = []
    for source in np.unique(part["source"]):
        where = np.flatnonzero(part["source"] == source)
        ids = open_table(job.indices[int(source)]).column("item").combine_chunks()
        names, cut = ids.take(pa.array(part["item"][where])), pa.array(part["cut"][where])
        numbered = pc.binary_join_element_wise(names, pc.cast(cut, pa.string()), "#")
        found.append(pc.if_else(pc.less(cut, 0), names, numbered))
        places.append(where)
    if not found:
        return pa.array([], pa.string())
    order = np.argsort(np.concatenate(places), kind="stable")
    return pa.concat_arrays(found).take(pa.array(order))


def by_object(job: ShardJob, group: NDArray[np.int64]) -> Iterator[tuple[Path, NDArray[np.int64]]]:
    """Each token object that the segments come from (see find_tokens), and which of them do, in their order."""
    order = np.argsort(group, kind="stable")
    values, firsts = np.unique(group[order], return_index=True)
    for value, segments in zip(values.tolist(), np.split(order, firsts[1:]), strict=True):
        yield job.objects[value >> 32][value & 0xFFFFFFFF], segments


@dataclass(frozen=True)
class Runs:
    """Tokens that stand together in an object and in the batch: int64 [num_runs] each."""

    begin: NDArray[np.int64]  # in the object
    place: NDArray[np.int64]  # in the batch
    length: NDArray[np.int64]

    def chosen(self, where: NDArray[np.int64]) -> Runs:
        """These of them."""
        return Runs(self.begin[where], self.place[where], self.length[where])

    def joined(self) -> Runs:
        """Those that follow each other in both places as one."""
        follows = (self.begin[1:] == self.begin[:-1] + self.length[:-1]) & (
            self.place[1:] == self.place[:-1] + self.length[:-1]
        )
        heads = np.flatnonzero(np.concatenate([[True], ~follows]))
        return Runs(self.begin[heads], self.place[heads], np.add.reduceat(self.length, heads))


def fill(
    objects: Iterator[tuple[Path, NDArray[np.int64]]],
    segments: Runs,
    ids: TokenArray,
    mask: NDArray[np.bool_],
) -> None:
    """Put the segments of every object where they belong, and for chats their masks; other masks stay."""
    short: dict[bool, list[tuple[Path, NDArray[np.int64]]]] = {False: [], True: []}
    for path, where in objects:
        dtype, has_mask = object_facts(path)
        assert dtype == ids.dtype, f"{path} holds {dtype}, others {ids.dtype}: objects of two tokenizers"
        runs = segments.chosen(where).joined()
        if int(runs.length.sum()) < LONG_RUN * len(runs.length):
            short[has_mask].append((path, where))
            continue
        read_runs(path / "ids.bin", runs, ids)
        if has_mask:
            read_runs(path / "mask.bin", runs, mask)
    for has_mask, pieces in short.items():
        if pieces:
            gather_pieces("ids.bin", pieces, segments, ids)
            if has_mask:
                gather_pieces("mask.bin", pieces, segments, mask)


def gather_pieces(
    file: str,
    objects: list[tuple[Path, NDArray[np.int64]]],
    segments: Runs,
    out: NDArray[Any],
) -> None:
    """Short segments of these objects: what the batch wants of each, then all of it in the order of the batch."""
    taken: list[NDArray[Any]] = []
    lengths: list[NDArray[np.int64]] = []
    number = np.full(len(segments.begin), -1, np.int64)
    read = 0
    for path, where in objects:
        begin, first, own = np.unique(segments.begin[where], return_index=True, return_inverse=True)
        length = segments.length[where][first]  # a window that is seen twice has its segments twice
        edges = np.stack([begin, begin + length], axis=1).ravel()
        taken.append(gathered(mapped(path / file, out.dtype), edges, 2 * np.arange(len(begin))))
        lengths.append(length)
        number[where] = own + read
        read += len(begin)
    wanted = np.flatnonzero(number >= 0)
    whole = gathered(np.concatenate(taken), offsets_of(np.concatenate(lengths)), number[wanted])
    there = segments.chosen(wanted)
    runs = Runs(offsets_of(there.length)[:-1], there.place, there.length).joined()
    for start, place, count in zip(
        runs.begin.tolist(), runs.place.tolist(), runs.length.tolist(), strict=True
    ):
        out[place : place + count] = whole[start : start + count]


def read_runs(path: Path, runs: Runs, out: NDArray[Any]) -> None:
    """Long runs: each read from the file to its place."""
    width, content = out.itemsize, out.view(np.uint8).data
    with open(path, "rb", buffering=0) as file:
        number = file.fileno()
        for begin, place, length in zip(
            runs.begin.tolist(), runs.place.tolist(), runs.length.tolist(), strict=True
        ):
            first, size = place * width, length * width
            if os.preadv(number, [content[first : first + size]], begin * width) != size:
                raise BuildError(
                    f"{path} ends before token {begin + length}; remove the object and build again"
                )


def stored_dtype(job: ShardJob) -> np.dtype[Any]:
    """How ids are stored in the objects, all of one tokenizer: uint16 or uint32."""
    first = next((path for objects in job.objects for path in objects), None)
    return object_facts(first)[0] if first else np.dtype(np.uint32)


@lru_cache(maxsize=1 << 16)
def object_facts(path: Path) -> tuple[np.dtype[Any], bool]:
    """How a token object's ids are stored, and whether it has a mask, as chats do."""
    import orjson

    meta = orjson.loads((path / "meta.json").read_bytes())
    return np.dtype(meta["dtype"]), (path / "mask.bin").exists()
