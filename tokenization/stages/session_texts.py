"""What sessions say, as one text each: a column of messages in, a column of texts out, without a Python loop."""

from __future__ import annotations

from collections.abc import Collection

import pyarrow as pa


def session_texts(
    messages: pa.Array | pa.ChunkedArray, *, only: Collection[str] = (), without: Collection[str] = ()
) -> pa.LargeStringArray:
    """Reasoning and content of each session's messages, a line feed between; of these roles only, where some are named,
    and without those. `messages` has one JSON list of normalised messages a row."""
    import polars as pl

    if not len(messages):
        return pa.array([], pa.large_string())
    text = pl.String()
    shape = pl.List(pl.Struct({"role": text, "reasoning_content": text, "content": text}))
    message = pl.element().struct
    said = pl.concat_str(
        message.field("reasoning_content"), message.field("content"), separator="\n", ignore_nulls=True
    )
    role = message.field("role")
    wanted = ~role.is_in(list(without)) if without else pl.lit(True)
    if only:
        wanted = wanted & role.is_in(list(only))
    column = pl.Series("messages", pl.from_arrow(messages), dtype=text).str.json_decode(shape)
    texts = column.to_frame().select(
        pl.col("messages").list.eval(pl.when(wanted).then(said).otherwise(None)).list.join("\n")
    )
    return texts.to_series().to_arrow().cast(pa.large_string())
