"""Hugging Face datasets, saved to disk or on a hub, are read as the Arrow files that hold them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hub_server import hub
from ingest_sources import lines, list_files, read_chat, read_text, write

from tokenization.errors import RecipeError
from tokenization.ingest.files import resolve_files

ROWS = [{"id": f"r{n}", "text": f"row {n}"} for n in range(10)]
CHAT = {"id": "c", "messages": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}]}

READ_HUB = """
import json, sys
from pathlib import Path
from tokenization.errors import RecipeError
from tokenization.ingest.chunks import plan_chunks
from tokenization.ingest.cleaning import CleaningOptions
from tokenization.ingest.corpus import TextOptions, read_documents
from tokenization.ingest.files import resolve_files
try:
    files = resolve_files(sys.argv[1], Path("."), source="hub", split=sys.argv[2] or None)
except RecipeError as error:
    print(json.dumps({"error": str(error)}))
    raise SystemExit
chunks = plan_chunks(files, ["x"] * len(files))
batches = [batch for chunk in chunks for batch in read_documents(chunk, TextOptions(), CleaningOptions())]
rows = [row for batch in batches for row in batch.documents.to_pylist()]
print(json.dumps([[r["own_id"], r["file"], r["place"], r["text"]] for r in rows]))
"""


def test_a_saved_dataset_gives_its_rows_in_order(tmp_path: Path) -> None:
    import datasets

    datasets.Dataset.from_list(ROWS).save_to_disk(tmp_path / "saved", num_shards=2)
    read = read_text(tmp_path / "saved")
    assert [row["own_id"] for row in read.rows] == [row["id"] for row in ROWS]
    assert [row["file"] for row in read.rows[::5]] == [
        "data-00000-of-00002.arrow",
        "data-00001-of-00002.arrow",
    ]


def test_a_saved_dataset_dict_gives_the_split_asked_for(tmp_path: Path) -> None:
    import datasets

    train, test = datasets.Dataset.from_list([CHAT]), datasets.Dataset.from_list([CHAT | {"id": "t"}])
    datasets.DatasetDict(train=train, test=test).save_to_disk(tmp_path / "saved")
    read = read_chat(tmp_path / "saved")
    assert read.sessions == [CHAT["messages"]]
    assert read.rows[0]["file"] == "train/data-00000-of-00001.arrow"
    files = resolve_files("saved", tmp_path, source="docs", split="test")
    assert [file.relative for file in files] == ["test/data-00000-of-00001.arrow"]
    with pytest.raises(RecipeError, match="no split 'dev'; it has train, test"):
        resolve_files("saved", tmp_path, source="docs", split="dev")


def test_a_folder_that_only_looks_like_a_dataset_is_told(tmp_path: Path) -> None:
    write(tmp_path / "state.json", "{}")
    with pytest.raises(RecipeError, match=r"state.json can't be read"):
        list_files(tmp_path)


@pytest.mark.slow  # three Python processes that import datasets
def test_a_hub_dataset_is_downloaded_once_and_read_as_arrow(tmp_path: Path) -> None:
    files = {"README.md": b"# A set\n", "data/train.jsonl": lines(*ROWS), "data/test.jsonl": lines(ROWS[3])}
    with hub("owner/name", files) as (endpoint, asked):

        def read(url: str, split: str = "") -> subprocess.CompletedProcess[str]:
            environment = os.environ | {"HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path), "no_proxy": "*"}
            command = [sys.executable, "-c", READ_HUB, url, split]
            return subprocess.run(command, env=environment, capture_output=True, text=True, check=True)

        rows = json.loads(read("hf://owner/name").stdout)
        assert rows == [
            [row["id"], "owner/name/train/name-train.arrow", n, row["text"]] for n, row in enumerate(ROWS, 1)
        ]
        gets = [line for line in asked if line.startswith("GET") and line.endswith(".jsonl")]
        assert len(gets) == 2, "real HTTP, one download a file"
        assert [row[0] for row in json.loads(read("hf://owner/name", "test").stdout)] == ["r3"]
        assert [line for line in asked if line.startswith("GET") and line.endswith(".jsonl")] == gets
        missing = json.loads(read("hf://owner/other").stdout)["error"]
        assert missing.startswith("source 'hub': hf://owner/other cannot be loaded: ")
