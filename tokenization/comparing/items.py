"""One row an item of a build: what items.parquet says of it, beside what the dataset shows of it.

A session that was cut is one item; its cuts' digests are combined in their order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokenization.build.contents import Build
from tokenization.comparing.segments import HALVES, shown_items

if TYPE_CHECKING:
    import polars as pl

COLUMNS = ["split", "source", "item", "kind", "file", "place", "content_hash", "cut", "num_tokens",
           "num_target_tokens", "actions"]  # fmt: skip
HALF = 1 << 32
# Alike in an item's cuts.
FIRST = ["kind", "split", "file", "place", "content_hash", "row", "shown_in", "weight"]


def items_of(build: Build) -> pl.DataFrame:
    """source, item, kind, split, file, place, content_hash, cuts, tokens, targets, shown, actions, weight, row and
    shown_in; and ids and mask, the digests as text."""
    import polars as pl

    listed = pl.read_parquet(build.path / "items.parquet", columns=COLUMNS)
    joined = listed.join(shown_items(build), on=["source", "item"], how="left", maintain_order="left")
    number = pl.col("cut").fill_null(-1).cast(pl.UInt64, strict=False).fill_null(0) + 1
    suffix = pl.concat_str(pl.lit("#"), pl.col("cut").cast(pl.String))
    is_cut = pl.col("cut").is_not_null()
    whole = joined.with_columns(
        item=pl.when(is_cut)
        .then(pl.col("item").str.head(pl.col("item").str.len_chars() - suffix.str.len_chars()))
        .otherwise(pl.col("item")),
        **{half: pl.col(half).fill_null(0) * number for half in HALVES},
    )
    return (
        whole.group_by("source", "item", maintain_order=True)
        .agg(
            pl.col(FIRST).first(),
            is_cut.sum().alias("cuts"),
            pl.col("num_tokens").cast(pl.Int64).sum().alias("tokens"),
            pl.col("num_target_tokens").cast(pl.Int64).sum().alias("targets"),
            pl.col("shown").fill_null(0).sum(),
            pl.col("actions")
            .explode()
            .drop_nulls()
            .unique(maintain_order=True)
            .str.join(", ")
            .alias("actions"),
            *(pl.col(half).sum() for half in HALVES),
        )
        .with_columns(ids=_digest("ids"), mask=_digest("mask"))
        .drop(HALVES)
    )


def _digest(name: str) -> pl.Expr:
    """The sum of the halves modulo 2^64, as text: what the low one carries belongs to the high one."""
    import polars as pl

    low, high = pl.col(f"{name}_low"), pl.col(f"{name}_high")
    halves = (low % HALF, (high + low // HALF) % HALF)
    return pl.concat_str(*(half.cast(pl.String) for half in halves), separator="-")
