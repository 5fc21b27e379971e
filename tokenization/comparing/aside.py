"""What a build set aside: one row for each row of its quarantine, without the rows themselves."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.json as pj

if TYPE_CHECKING:
    import polars as pl

BLOCK = 16 << 20  # bytes read at once; a quarantined row that is longer needs a larger one
MOST = 1 << 30
SCHEMA = pa.schema(
    [("source", pa.string()), ("item", pa.string()), ("file", pa.string()), ("place", pa.int64()),
     ("reason", pa.string())]
)  # fmt: skip


def set_aside(build: Path) -> pl.DataFrame:
    """source, item (may be null), file, place, reason."""
    import polars as pl

    tables = [_read(path) for path in sorted((build / "quarantine").glob("*.jsonl")) if path.stat().st_size]
    table = pa.concat_tables([SCHEMA.empty_table(), *tables])
    return pl.DataFrame(pl.from_arrow(table))


def _read(path: Path) -> pa.Table:
    block = BLOCK
    while True:
        try:
            table = pj.read_json(
                path,
                read_options=pj.ReadOptions(block_size=block),
                parse_options=pj.ParseOptions(explicit_schema=SCHEMA, unexpected_field_behavior="ignore"),
            )
            return table.select(SCHEMA.names).cast(SCHEMA)
        except pa.ArrowInvalid:  # a row across two blocks
            if block >= MOST:
                raise
            block *= 4
