"""What was set aside is written whole, a bounded number of rows at a time."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from small_recipes import Project, json_lines, text_source

from tokenization.stages import documents, quarantine
from tokenization.stages.quarantine import write_quarantine
from tokenization.stages.tables import read_batches

TEXTS = [f"Document {number} says this and no more." for number in range(40)]
ROWS = [
    *({"id": f"first-{number}", "text": text} for number, text in enumerate(TEXTS)),
    *({"text": text} for text in TEXTS[:25]),  # equal to the first ones
    *({"text": f"no, {number}"} for number in range(30)),  # too short
]


def aside_project(new_project: Callable[..., Project], monkeypatch: pytest.MonkeyPatch) -> Project:
    """A source of many chunks, some of whose rows are too short and some repeated."""
    project = new_project(
        name="aside",
        mixture=None,
        chat=None,
        cleaning={"min_characters": 10},
        sources=[text_source("rows", "data/rows.jsonl")],
    )
    project.file("data/rows.jsonl", json_lines(ROWS))
    monkeypatch.setenv("TOKENMILL_CHUNK_BYTES", "300")
    return project


def test_what_reading_set_aside_is_read_a_chunk_at_a_time(
    new_project: Callable[..., Project], monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = aside_project(new_project, monkeypatch).workspace()
    chunks = workspace.run("documents", "rows").value["chunks"]
    workspace.run("selection")
    read: list[Path] = []

    def watched(path: Path, columns: list[str]) -> Iterator[pa.RecordBatch]:
        read.append(path)
        yield from read_batches(path, columns)

    monkeypatch.setattr(documents, "read_batches", watched)
    rows = quarantine.quarantined(workspace, "rows")
    assert next(rows)["reason"] == "too_short"
    until_the_first = len(read)
    assert sum(1 for _ in rows) == 54
    assert until_the_first < len(read) == len(chunks), "nothing is read before it is asked for"


@pytest.mark.parametrize("block", [1, 7, 10_000])
def test_every_row_that_was_set_aside_is_there_whatever_is_held_at_a_time(
    new_project: Callable[..., Project], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr(quarantine, "HELD", block)
    monkeypatch.setattr(quarantine, "DESCRIBED", block)
    workspace = aside_project(new_project, monkeypatch).workspace()
    workspace.run("documents", "rows")
    workspace.run("selection")
    write_quarantine(workspace, tmp_path / "quarantine")
    lines = [json.loads(line) for line in (tmp_path / "quarantine" / "rows.jsonl").read_text().splitlines()]
    assert Counter((line["stage"], line["reason"]) for line in lines) == {
        ("ingest", "too_short"): 30,
        ("select", "exact_duplicate"): 25,
    }
    repeated = [line for line in lines if line["stage"] == "select"]
    assert [line["place"] for line in lines] == [*range(66, 96), *range(41, 66)]
    assert [json.loads(line["row"]) for line in lines] == [*ROWS[65:], *ROWS[40:65]]
    assert all(f"'first-{number}'" in line["detail"] for number, line in enumerate(repeated))
