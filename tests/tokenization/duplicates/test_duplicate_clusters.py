"""What people are shown of the clusters: every text of them, once, beside the one that stays."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from duplicate_texts import column
from numpy.typing import NDArray

from tokenization.duplicates import clusters as clusters_module
from tokenization.duplicates.clusters import write_clusters
from tokenization.duplicates.near import cluster
from tokenization.duplicates.signatures import signatures
from tokenization.errors import BuildError

TEXTS = [
    "b " * 300,
    "红楼梦第一回" * 90,
    "alone and different in every word",
    "红楼梦第一回" * 99,
    "b  " * 300,
    "",
]


def describe(at: NDArray[np.int64]) -> pa.Table:
    return pa.table(
        {
            "source": ["docs" if place < 3 else "web" for place in at],
            "item": [f"item-{place}" for place in at],
            "text": column([TEXTS[place] for place in at]),
        }
    )


@pytest.mark.parametrize("ending", ["parquet", "jsonl"])
@pytest.mark.parametrize("batch", [1, 3, 1000])
def test_every_text_of_a_cluster_is_shown_once_and_cut(
    ending: str, batch: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clusters_module, "BATCH", batch)
    path = tmp_path / f"clusters.{ending}"
    assert write_clusters(path, cluster([signatures(column(TEXTS))], 0.8), describe) == 2
    rows = (
        pq.read_table(path).to_pylist()
        if ending == "parquet"
        else [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    )
    assert [(row["cluster"], row["source"], row["item"], row["kept"]) for row in rows] == [
        (0, "docs", "item-0", True),
        (0, "web", "item-4", False),
        (1, "docs", "item-1", True),
        (1, "web", "item-3", False),
    ]
    assert [row["text"] for row in rows] == [TEXTS[at][:200] for at in (0, 4, 1, 3)]
    assert all(row["similarity"] == pytest.approx(1) for row in rows)


def test_no_clusters_make_a_readable_file(tmp_path: Path) -> None:
    path = tmp_path / "clusters.parquet"
    assert write_clusters(path, cluster([signatures(column(TEXTS[:2]))], 0.8), describe) == 0
    assert len(pq.read_table(path)) == 0


def test_a_description_of_other_length_is_refused(tmp_path: Path) -> None:
    near = cluster([signatures(column(TEXTS))], 0.8)
    with pytest.raises(BuildError, match="4 texts of clusters were asked for and 3 came"):
        write_clusters(tmp_path / "clusters.jsonl", near, lambda at: describe(at[1:]))
