"""items.parquet is whole when its block is left, in the order in which rows came, or the error is told."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tokenization.stages.items import ITEM_SCHEMA, ItemsFile


def rows(first: int, count: int) -> pa.Table:
    names = [f"item-{number}" for number in range(first, first + count)]
    nulls = {field.name: pa.nulls(count, field.type) for field in ITEM_SCHEMA}
    return pa.table({**nulls, "item": names}, schema=ITEM_SCHEMA)


def slowed(file: ItemsFile, writes: list[int]) -> None:
    """Let every write take its time, and note it."""
    write = file._writer.write_table

    def late(table: pa.Table) -> None:
        time.sleep(0.02)
        write(table)
        writes.append(len(table))

    file._writer.write_table = late


def test_groups_are_written_in_their_order_and_two_at_most_wait(tmp_path: Path) -> None:
    writes: list[int] = []
    with ItemsFile(tmp_path / "items.parquet") as file:
        slowed(file, writes)
        for number in range(6):
            file.add(rows(10 * number, 10))
            assert number - len(writes) < 2
    assert writes == [10] * 6
    with pq.ParquetFile(tmp_path / "items.parquet") as whole:
        assert whole.num_row_groups == 6
        assert whole.read().column("item").to_pylist() == [f"item-{number}" for number in range(60)]


def test_a_group_that_cannot_be_written_is_an_error_at_the_latest_when_the_block_is_left(
    tmp_path: Path,
) -> None:
    def full(_: Any) -> None:
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"), ItemsFile(tmp_path / "items.parquet") as file:
        file._writer.write_table = full
        file.add(rows(0, 10))


def test_an_error_of_the_block_itself_is_the_one_that_is_told(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="mine"), ItemsFile(tmp_path / "items.parquet") as file:
        file.add(rows(0, 10))
        raise KeyError("mine")
