"""Write one shard: gather the plan's tokens from the token objects (`token_runs`), in batches, straight into Arrow.

Text is all targets but the first token of each segment (nothing in the segment predicts it), padding never is.

Guarantees: bytes depend on the plan and the tokens only. Price: about 1 ns a token of text, 30 ns with sessions of
130 tokens, names of items included, while items.parquet is written beside.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tokenization.shards import Written, batch_of, write_shard
from tokenization.stages.tables import open_table
from tokenization.stages.token_runs import Runs, fill, object_facts
from tokenization.stages.windows import KINDS, Rows
from tokenization.windows.mixture import PRETRAIN

BATCH_TOKENS = 2 << 20  # 8 MB of ids a batch: stays in cache-sized pieces, bounds memory


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
    fill(partial(object_path, job), group, Runs(begin, place, length), ids, mask)
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


def object_path(job: ShardJob, number: int) -> Path:
    """The token object that `find_tokens` calls by this number."""
    return job.objects[number >> 32][number & 0xFFFFFFFF]


def stored_dtype(job: ShardJob) -> np.dtype[Any]:
    """How ids are stored in the objects, all of one tokenizer: uint16 or uint32."""
    first = next((path for objects in job.objects for path in objects), None)
    return object_facts(first)[0] if first else np.dtype(np.uint32)
