"""Every form, read back as its reader does, holds the build's windows, targets and segments, and no others."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from export_readers import READERS, Window, mds_samples
from hypothesis import given, settings
from hypothesis import strategies as st
from small_recipes import Project, chat_source, text_source

from pipelines.cli import FORMS as NAMES
from tokenization import shards
from tokenization.exporting.export import export
from tokenization.exporting.forms import FORMS
from tokenization.exporting.task import Task

sys.path.insert(0, str(Path(__file__).parents[2] / "pipelines"))
from builds_read import dataset_of

WINDOW = 8
Row = dict[str, Any]


def windows_of(rows: list[Row], *, padding: bool) -> list[Window]:
    """The rows of a dataset as segments."""
    found = []
    for row in rows:
        ends = np.cumsum(row["seq_lens"]).tolist()
        window = [
            (row["input_ids"][a:b], row["loss_mask"][a:b])
            for a, b, segment in zip([0, *ends[:-1]], ends, row["segments"], strict=True)
            if padding or segment["source"]
        ]
        found.append(window)
    return found


@st.composite
def some_rows(draw: st.DrawFn) -> list[Row]:
    """Windows of a few segments, some padded; a segment may be a single token."""
    rows = []
    for _ in range(draw(st.integers(1, 5))):
        lengths: list[int] = []
        while sum(lengths) < WINDOW:
            lengths.append(draw(st.integers(1, WINDOW - sum(lengths))))
        padded = len(lengths) > 1 and draw(st.booleans())
        names = ["" if padded and number == len(lengths) - 1 else "s" for number in range(len(lengths))]
        mask = [
            bool(name) and place > 0 and draw(st.booleans())
            for name, length in zip(names, lengths, strict=True)
            for place in range(length)
        ]
        rows.append(
            {
                "input_ids": draw(
                    st.lists(st.sampled_from([0, 1, 9, 65499, 70000]), min_size=WINDOW, max_size=WINDOW)
                ),
                "loss_mask": mask,
                "seq_lens": lengths,
                "segments": [
                    {"source": name, "item": name and "好#1", "start": 3, "length": length}
                    for name, length in zip(names, lengths, strict=True)
                ],
                "kind": draw(st.sampled_from(["pretrain", "sft"])),
                "loss_weights": [0.5 if name else 0.0 for name in names],
            }
        )
    return rows


@settings(max_examples=40, deadline=None)
@given(some_rows(), st.integers(1, 3), st.booleans(), st.booleans())
def test_any_windows_are_read_back_from_every_form(
    rows: list[Row], batch_rows: int, ragged: bool, weights: bool
) -> None:
    window = None if ragged else WINDOW
    largest = max(max(row["input_ids"]) for row in rows)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        schema = shards.schema_of(window, weights)
        kept = [{column: row[column] for column in schema.names} for row in rows]
        batches = [
            pa.RecordBatch.from_pylist(kept[first : first + batch_rows], schema=schema)
            for first in range(0, len(kept), batch_rows)
        ]
        half = len(batches) // 2
        for number, part in enumerate((batches[:half], batches[half:])):
            shards.write_shard(folder / f"{number}.arrow", iter(part), window, weights)
        for form in FORMS.values():
            out = folder / form.name
            out.mkdir()
            task = Task(
                split="train",
                folder=out,
                shards=[folder / "0.arrow", folder / "1.arrow"],
                fingerprint="f" * 32,
                window=window,
                largest_id=largest,
                weights=weights,
            )
            counted = form.write(task)
            assert counted.windows == len(rows)
            assert counted.targets == sum(sum(row["loss_mask"]) for row in rows)
            for read, padding in READERS[form.name]:
                assert read(out) == windows_of(rows, padding=padding), read.__name__
        assert [each["segments"] for each in mds_samples(folder / "mds")] == [r["segments"] for r in rows]
        if weights:
            told = [each["loss_weights"] for each in mds_samples(folder / "mds")]
            assert told == [row["loss_weights"] for row in rows]


@pytest.mark.parametrize("name", NAMES)
def test_both_splits_of_a_build_are_read_back(good: Project, tmp_path: Path, name: str) -> None:
    out = tmp_path / "deep" / name
    result = good.run("export", good.out, out, "--to", name, "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    dataset = dataset_of(good.out)
    assert told["form"] == name and told["fingerprint"] == good.manifest["fingerprint"]
    for split, rows in dataset.items():
        assert len(rows) > 3
        for read, padding in READERS[name]:
            assert read(out / split) == windows_of(rows, padding=padding)
        due = good.manifest["splits"][split]
        assert told["splits"][split] == {
            "windows": due["num_windows"],
            "tokens": due["num_tokens"],
            "targets": due["num_target_tokens"],
        }
    assert (out / "tokenizer" / "tokenizer.json").read_bytes() == (
        good.out / "tokenizer" / "tokenizer.json"
    ).read_bytes()
    note = (out / "README.md").read_text()
    assert all(f"`{column}`" in note for column in FORMS[name].columns) and "128 tokens" in note
    assert all(lost in note for lost in FORMS[name].loses) and all(told in note for told in FORMS[name].mind)


@pytest.fixture(scope="module")
def odd(
    tmp_path_factory: pytest.TempPathFactory, small_tokenizer: Path, empty_instance: Path
) -> Callable[..., Project]:
    """A build of rows with weights, no validation, in several shards of several batches."""
    from small_recipes import small_project

    from tokenization.stages import shard_jobs

    project = small_project(
        tmp_path_factory.mktemp("odd") / "project",
        small_tokenizer,
        sources=[
            text_source("web", "data/web.jsonl"),
            chat_source("questions", "data/questions.jsonl", weight=2.0),
        ],
        sft={"layout": "rows"},
        validation=0.0,
    )
    shutil.copytree(empty_instance, project.folder / "dagster")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shard_jobs, "BATCH_TOKENS", 1500)
        patch.setattr(shards, "SHARD_TOKENS", 5000)
        project.built()
    return project


@pytest.mark.parametrize("name", NAMES)
def test_rows_with_weights_and_an_empty_split_go_through_every_form(
    odd: Project, tmp_path: Path, name: str
) -> None:
    assert len(odd.manifest["splits"]["train"]["shards"]) > 1 and odd.manifest["loss_weights"]
    exported = export(odd.out, name, tmp_path / name)
    rows = dataset_of(odd.out)["train"]
    assert len({len(row["input_ids"]) for row in rows}) > 2
    for read, padding in READERS[name]:
        assert read(tmp_path / name / "train") == windows_of(rows, padding=padding)
    if name in ("megatron", "mds"):
        assert exported.left_out == ["validation"] and not (tmp_path / name / "validation").exists()
    else:
        (read, _), *_ = READERS[name]
        assert read(tmp_path / name / "validation") == []
    told = [lost for lost in exported.loses if "loss weights" in lost]
    assert bool(told) != FORMS[name].carries_weights
    if name == "mds":
        weights = [sample["loss_weights"] for sample in mds_samples(tmp_path / name / "train")]
        assert weights == [row["loss_weights"] for row in rows] and any(2.0 in each for each in weights)


def test_out_is_refused_where_something_is(good: Project, tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.mkdir()
    (there / "kept").write_text("mine")
    for out, told in ((there, "is there already"), ("s3://bucket/out", "local folder")):
        result = good.run("export", good.out, out, "--to", "trl")
        assert result.exit_code == 2 and told in result.stderr, result.output
    assert [path.name for path in there.iterdir()] == ["kept"]
    wrong = good.run("export", good.out, tmp_path / "new", "--to", "csv")
    assert wrong.exit_code == 2 and "trl" in wrong.stderr


@pytest.mark.parametrize("counted", ["num_windows", "num_tokens", "num_target_tokens"])
def test_a_dataset_that_is_not_its_manifests_is_not_exported_and_nothing_stays(
    good: Project, tmp_path: Path, counted: str
) -> None:
    broken = Path(shutil.copytree(good.out, tmp_path / "broken"))
    manifest = json.loads((broken / "manifest.json").read_text())
    manifest["splits"]["validation"][counted] += 1
    (broken / "manifest.json").write_text(json.dumps(manifest))
    (tmp_path / "at").mkdir()
    result = good.run("export", broken, tmp_path / "at" / "out", "--to", "parquet")
    assert result.exit_code == 1 and "Nothing was exported" in result.stderr
    assert list((tmp_path / "at").iterdir()) == []


def test_the_names_of_the_command_are_the_forms_and_the_docs_tell_of_each() -> None:
    assert tuple(FORMS) == NAMES == tuple(READERS)
    docs = (Path(__file__).parents[3] / "docs" / "exports.md").read_text()
    for form in FORMS.values():
        assert f"## {form.name}" in docs
        for column in form.columns:
            assert column in docs, f"{form.name}: {column}"
