"""The columns of a dataset, and its files as `datasets` opens them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from tokenization import shards
from tokenization.hashing import file_digest
from tokenization.uncached import LARGE

WINDOW = 6
ROWS: list[dict[str, Any]] = [
    {
        "input_ids": [5, 6, 7, 8, 0, 0],
        "loss_mask": [False, True, False, True, False, False],
        "seq_lens": [2, 2, 2],
        "segments": [
            {"source": "docs", "item": "书/a.md", "start": 0, "length": 2},
            {"source": "chat", "item": "x:3#1", "start": 0, "length": 2},
            {"source": "", "item": "", "start": 0, "length": 2},
        ],
        "kind": "sft",
    },
    {
        "input_ids": [9, 9, 9, 9, 9, 70000],
        "loss_mask": [False, True, True, True, True, True],
        "seq_lens": [6],
        "segments": [{"source": "docs", "item": "b", "start": 1 << 33, "length": 6}],
        "kind": "pretrain",
    },
]


def batch(rows: list[dict[str, Any]], window: int | None) -> pa.RecordBatch:
    """The rows through the same flat arrays that the stages use."""
    weights = [weight for row in rows for weight in row.get("loss_weights", [])]
    segments = [segment for row in rows for segment in row["segments"]]
    return shards.batch_of(
        input_ids=np.array([token for row in rows for token in row["input_ids"]], np.int32),
        loss_mask=np.array([flag for row in rows for flag in row["loss_mask"]], np.bool_),
        row_offsets=np.cumsum([0, *(len(row["input_ids"]) for row in rows)]),
        segment_offsets=np.cumsum([0, *(len(row["segments"]) for row in rows)]),
        segments={
            "source": pa.array([each["source"] for each in segments], pa.string()),
            "item": pa.array([each["item"] for each in segments], pa.string()),
            "start": pa.array([each["start"] for each in segments], pa.int64()),
            "length": pa.array([each["length"] for each in segments], pa.int32()),
        },
        kinds=pa.array([row["kind"] for row in rows], pa.string()),
        window=window,
        loss_weights=np.array(weights, np.float32) if weights else None,
    )


def write(
    folder: Path, batches: list[list[dict[str, Any]]], window: int | None, weights: bool = False
) -> Path:
    """A dataset of two splits: `train` in one shard a list of rows, an empty `validation`."""
    for split, parts in (("train", batches), ("validation", [[]])):
        (folder / split).mkdir(parents=True)
        names = [shards.shard_name(number, len(parts)) for number in range(len(parts))]
        for name, rows in zip(names, parts, strict=True):
            made = iter([batch(rows, window)] if rows else [])
            written = shards.write_shard(folder / split / name, made, window, weights)
            assert written.rows == len(rows)
            assert written.sha256 == file_digest(folder / split / name)
            assert written.targets == sum(sum(row["loss_mask"]) for row in rows)
        shards.write_split_metadata(folder / split, names, "0123456789abcdef0123", split, window, weights)
    shards.write_dataset_metadata(folder, ["train", "validation"])
    return folder


@pytest.mark.parametrize("window", [WINDOW, None])
def test_datasets_opens_what_was_written_and_guesses_nothing(tmp_path: Path, window: int | None) -> None:
    from datasets import Features, load_from_disk

    loaded = load_from_disk(str(write(tmp_path / "d", [ROWS[:1], ROWS[1:]], window)))
    assert list(loaded) == ["train", "validation"]
    assert loaded["train"].to_list() == ROWS
    assert len(loaded["validation"]) == 0
    assert loaded["train"].features == Features.from_dict(shards.features_of(window))
    assert loaded["validation"].features == loaded["train"].features
    assert loaded["train"].features["input_ids"].length == (-1 if window is None else window)


@pytest.mark.parametrize("window", [WINDOW, None])
def test_loss_weights_are_a_column_of_their_own_where_they_are_used(
    tmp_path: Path, window: int | None
) -> None:
    from datasets import Features, load_from_disk

    weights = iter([0.5, 0.0, 2.0, 3.0])
    rows = [{**row, "loss_weights": [next(weights) for _ in row["seq_lens"]]} for row in ROWS]
    loaded = load_from_disk(str(write(tmp_path / "d", [rows], window, weights=True)))
    assert loaded["train"].to_list() == rows
    assert loaded["train"].features == Features.from_dict(shards.features_of(window, weights=True))
    assert loaded["validation"].features == loaded["train"].features
    assert "loss_weights" not in shards.schema_of(window).names


def test_rows_come_back_by_split_by_stream_and_one_by_one(tmp_path: Path) -> None:
    folder = write(tmp_path / "d", [ROWS[:1], ROWS[1:]], WINDOW) / "train"
    assert [row for part in shards.read_split(folder) for row in part.to_pylist()] == ROWS
    assert [shards.read_row(folder, number) for number in range(2)] == ROWS
    with pytest.raises(IndexError, match="row 2 of 2"):
        shards.read_row(folder, 2)
    assert sum(shards.count_targets(part) for part in shards.read_split(folder)) == 7


def test_the_same_rows_are_the_same_bytes(tmp_path: Path) -> None:
    first, second = (write(tmp_path / name, [ROWS], WINDOW) / "train" for name in ("a", "b"))
    names = sorted(path.name for path in first.iterdir())
    assert names == ["data-00000-of-00001.arrow", "dataset_info.json", "state.json"]
    assert [file_digest(first / name) for name in names] == [file_digest(second / name) for name in names]


@pytest.mark.parametrize("window", [4096, None])
def test_a_large_shard_is_what_was_written_and_hashed(tmp_path: Path, window: int | None) -> None:
    rng = np.random.default_rng(5)
    batches = [large_batch(rng.integers(0, 1 << 17, 4096 * rows), window) for rows in (300, 1, 290)]
    written = shards.write_shard(tmp_path / "shard", iter(batches), window)
    assert written.rows == 591 and written.sha256 == file_digest(tmp_path / "shard")
    assert (tmp_path / "shard").stat().st_size > 8 * LARGE
    read = list(shards.read_stream(tmp_path / "shard"))
    assert len(read) == 3 and all(a.equals(b) for a, b in zip(read, batches, strict=True))


def large_batch(ids: NDArray[np.int64], window: int | None) -> pa.RecordBatch:
    """Rows of 4096 tokens, one segment each."""
    rows = len(ids) // 4096
    return shards.batch_of(
        input_ids=ids.astype(np.int32),
        loss_mask=ids % 3 > 0,
        row_offsets=np.arange(rows + 1) * 4096,
        segment_offsets=np.arange(rows + 1),
        segments={
            "source": pa.array(["docs"] * rows),
            "item": pa.array([f"{row}.md" for row in range(rows)]),
            "start": pa.array([0] * rows, pa.int64()),
            "length": pa.array([4096] * rows, pa.int32()),
        },
        kinds=pa.array(["pretrain"] * rows),
        window=window,
    )


def test_an_emptied_shard_is_no_stream(tmp_path: Path) -> None:
    (tmp_path / "shard").write_bytes(b"")
    with pytest.raises(pa.ArrowInvalid):
        list(shards.read_stream(tmp_path / "shard"))


def test_polars_reads_a_shard_as_it_is(tmp_path: Path) -> None:
    import polars as pl

    path = write(tmp_path / "d", [ROWS], WINDOW) / "train" / shards.shard_name(0, 1)
    frame = pl.read_ipc_stream(path)
    assert frame["input_ids"].to_list() == [row["input_ids"] for row in ROWS]
    assert frame["segments"].to_list() == [row["segments"] for row in ROWS]
