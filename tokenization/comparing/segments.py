"""Digests of what the dataset shows of each item, in one pass, independent of where windows cut it.

A token's digest mixes its id with its place in the item; an item's is the sum over its tokens, and that of its mask the
sum over its targets. So pieces add up to the same, wherever they were cut. Sums are kept as two halves of 32 bits,
which do not overflow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tokenization.build.contents import SPLITS, Build, Rows

if TYPE_CHECKING:
    import polars as pl

_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)  # splitmix64's multipliers
LOW = np.uint64(0xFFFFFFFF)
HALVES = ("ids_low", "ids_high", "mask_low", "mask_high")


def token_digests(ids: NDArray[np.int32], places: NDArray[np.int64]) -> NDArray[np.uint64]:
    """uint64 [num_tokens]; `places` count from the item's first token."""
    mixed = places.astype(np.uint64) << np.uint64(32) | ids.view(np.uint32).astype(np.uint64)
    mixed += np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((np.uint64(30), _FIRST), (np.uint64(27), _SECOND)):
        mixed ^= mixed >> shift
        mixed *= factor
    mixed ^= mixed >> np.uint64(31)
    return mixed


def segment_columns(rows: Rows) -> dict[str, NDArray[Any]]:
    """Of each segment of a batch: start, length, weight and the halves of its digests."""
    lengths = rows.seq_lens.astype(np.int64)
    within = np.arange(len(rows.input_ids), dtype=np.int64) - np.repeat(rows.begins, lengths)
    digests = token_digests(rows.input_ids, within + np.repeat(rows.starts, lengths))
    ids = np.add.reduceat(digests, rows.begins)
    mask = np.add.reduceat(np.where(rows.loss_mask, digests, np.uint64(0)), rows.begins)
    return {
        "start": rows.starts,
        "length": lengths,
        "weight": np.ones(len(lengths), np.float32) if rows.loss_weights is None else rows.loss_weights,
        "ids_low": ids & LOW,
        "ids_high": ids >> np.uint64(32),
        "mask_low": mask & LOW,
        "mask_high": mask >> np.uint64(32),
    }


def shown_items(build: Build) -> pl.DataFrame:
    """One row an item that the dataset shows: source, item, shown (tokens, each counted once), its loss weight, the
    halves of its digests, and the split and row of its first segment."""
    import polars as pl

    parts = []
    for split in SPLITS:
        first = 0
        for rows in build.batches(split):
            counts = np.diff(rows.segment_offsets)
            columns = {
                "source": pl.Series(pl.from_arrow(rows.sources)).cast(pl.Categorical),
                "item": pl.from_arrow(rows.items),
                **segment_columns(rows),
                "row": np.repeat(np.arange(first, first + len(counts), dtype=np.int64), counts),
            }
            parts.append(
                pl.DataFrame(columns).filter(pl.col("source") != "").with_columns(split=pl.lit(split))
            )
            first += len(counts)
    if not parts:
        return pl.DataFrame(schema=dict.fromkeys(("source", "item", "shown_in"), pl.String)
                            | {"shown": pl.Int64, "row": pl.Int64, "weight": pl.Float32}
                            | dict.fromkeys(HALVES, pl.UInt64))  # fmt: skip
    once = pl.concat(parts).unique(["source", "item", "start", "length"], keep="first", maintain_order=True)
    return (
        once.group_by("source", "item", maintain_order=True)
        .agg(
            pl.col("length").sum().alias("shown"),
            pl.col("row", "weight").first(),
            pl.col("split").first().alias("shown_in"),
            *(pl.col(half).sum() for half in HALVES),
        )
        .with_columns(pl.col("source").cast(pl.String))
    )
