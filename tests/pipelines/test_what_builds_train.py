"""Flags, ranges, weights and prompts through a whole build: in dataset, items.parquet and manifest, and verified."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from builds_read import dataset_of, decoder, items_of, quarantine_of, segments_of
from small_recipes import (
    Project,
    chat_source,
    json_lines,
    question_rows,
    small_project,
    talk_rows,
    text_source,
    web_rows,
)

from tokenization import shards
from tokenization.build.contents import Build
from tokenization.build.verify import check_masks, verify
from tokenization.hashing import file_digest

New = Callable[..., Project]


def asked(identity: str, *answers: dict[str, Any], question: str = "Which river is it?") -> dict[str, Any]:
    messages: list[dict[str, Any]] = []
    for number, answer in enumerate(answers):
        messages += [
            {"role": "user", "content": f"{question} {identity} {number}"},
            {"role": "assistant", **answer},
        ]
    return {"id": identity, "messages": messages}


def weights_of(build: Path) -> dict[tuple[str, str], set[float]]:
    """Every weight that the dataset gives to each source and item."""
    found: dict[tuple[str, str], set[float]] = {}
    for rows in dataset_of(build).values():
        for row in rows:
            for segment, weight in zip(row["segments"], row["loss_weights"], strict=True):
                found.setdefault((segment["source"], segment["item"]), set()).add(weight)
    return found


@pytest.fixture(scope="module")
def weighed(tmp_path_factory: pytest.TempPathFactory, small_tokenizer: Path) -> Path:
    """A candidate with a weight of every kind."""
    project = small_project(
        tmp_path_factory.mktemp("weighed") / "project",
        small_tokenizer,
        name="weighed",
        chat={"template": "chatml", "default_system": "none", "roles": {"assistant": {"weight": 2.0}}},
        sources=[
            text_source("web", "data/web.jsonl", weight=0.5),
            chat_source("questions", "data/questions.jsonl", weight=3.0),
            chat_source("talks", "data/talks.jsonl"),
        ],
    )
    rows = [
        asked("light", {"content": "A stone.", "weight": 0.25}),
        asked("mixed", {"content": "A stone.", "loss_weight": 0.25}, {"content": "A lantern."}),
        asked("plain", {"content": "A stone."}),
        *question_rows()[:40],
    ]
    project.file("data/questions.jsonl", json_lines(rows))
    return Path(project.candidate())


def test_a_segment_weighs_its_source_times_its_trained_messages_and_padding_nothing(weighed: Path) -> None:
    weights = weights_of(weighed)
    assert weights["questions", "light"] == {3.0 * 2.0 * 0.25}
    assert weights["questions", "plain"] == {6.0} and weights["questions", "q7"] == {6.0}
    assert {w for (source, _), own in weights.items() if source == "talks" for w in own} == {2.0}
    assert {w for (source, _), own in weights.items() if source == "web" for w in own} == {0.5}
    assert weights["", ""] == {0.0}
    item = next(row for row in items_of(weighed).values() if row["item"] == "mixed")
    tokens = [span["stop"] - span["start"] for span in item["spans"]]
    mean = 6.0 * (0.25 * tokens[0] + tokens[1]) / sum(tokens)
    (found,) = weights["questions", "mixed"]
    assert found == pytest.approx(mean, rel=1e-6)
    assert item["actions"] == ["mixed_weights"]
    assert orjson.loads((weighed / "manifest.json").read_bytes())["loss_weights"] is True
    assert all(finding.passed for finding in verify(weighed))


def test_the_trainer_reads_the_weights_of_a_build(weighed: Path) -> None:
    from training.batches import collate
    from training.dataset import open_build

    split = open_build(weighed).train
    batch = collate([split[number] for number in range(len(split))])
    assert batch.weights is not None and batch.target_weight != batch.num_target_tokens
    counted = sum(
        float(np.repeat(row.loss_weights, row.seq_lens)[row.loss_mask].sum(dtype=np.float64))
        for row in (split[number] for number in range(len(split)))
        if row.loss_weights is not None
    )
    assert batch.target_weight == pytest.approx(counted)


@pytest.mark.parametrize("kind", ["pretrain", "sft", "padding"])
def test_one_wrong_weight_fails_the_check_of_masks(weighed: Path, tmp_path: Path, kind: str) -> None:
    build = tmp_path / "build"
    shutil.copytree(weighed, build)
    manifest = orjson.loads((build / "manifest.json").read_bytes())
    (shard,) = manifest["splits"]["train"]["shards"]
    rows = [row for batch in shards.read_stream(build / shard["path"]) for row in batch.to_pylist()]
    row, place = next(
        (row, place)
        for row in rows
        for place, segment in enumerate(row["segments"])
        if (kind == "padding" and not segment["source"]) or (row["kind"] == kind and segment["source"])
    )
    row["loss_weights"][place] += 0.5
    batch = pa.RecordBatch.from_pylist(rows, schema=shards.schema_of(manifest["window"], weights=True))
    shards.write_shard(build / shard["path"], iter([batch]), manifest["window"], weights=True)
    shard["sha256"] = file_digest(build / shard["path"])
    (build / "manifest.json").write_bytes(orjson.dumps(manifest))
    (wrong,) = check_masks(Build.open(build)).problems
    assert "must weigh" in wrong


def test_without_weights_there_is_no_column(new_project: New) -> None:
    project = new_project(sources=[chat_source("talks", "data/talks.jsonl")], mixture=None, name="plain")
    build = Path(project.candidate())
    assert "loss_weights" not in dataset_of(build)["train"][0]
    manifest = orjson.loads((build / "manifest.json").read_bytes())
    assert manifest["loss_weights"] is False
    manifest["loss_weights"] = True
    (build / "manifest.json").write_bytes(orjson.dumps(manifest))
    assert not check_masks(Build.open(build)).passed


def test_flags_and_ranges_reach_the_dataset_and_are_verified_and_what_cannot_be_placed_is_in_quarantine(
    new_project: New,
) -> None:
    project = new_project(
        sources=[chat_source("flags", "data/flags.jsonl")], mixture=None, name="flags", validation=0
    )
    content = "The river is long and the stone is old."
    rows = [
        asked("whole", {"content": content}),
        asked(
            "ranged",
            {"content": content, "train_detail": [{"begin_offset": 0, "end_offset": 8, "train": True}]},
        ),
        asked("last", {"content": content, "loss": False}, {"content": content}),
        asked("narrow", {"content": content, "train_ranges": [[0, 1]]}),
        asked("outside", {"content": content, "train_ranges": [[0, 100]]}),
    ]
    rows[0]["messages"][0]["train"] = True
    project.file("data/flags.jsonl", json_lines(rows))
    build = Path(project.candidate())
    items = {item["item"]: item for item in items_of(build).values()}
    decode = decoder(build)
    trained = {
        item: decode([token for token, yes in zip(*pieces[0], strict=True) if yes])
        for (_, _, item), pieces in segments_of(dataset_of(build)).items()
    }
    assert trained["whole"] == f"Which river is it? whole 0<|im_end|>{content}<|im_end|>"
    assert trained["last"] == f"{content}<|im_end|>"
    assert trained["ranged"] and "The river".startswith(trained["ranged"])
    assert (
        items["ranged"]["num_target_tokens"]
        < items["ranged"]["spans"][0]["stop"] - items["ranged"]["spans"][0]["start"]
    )
    assert "narrow" not in items or trained["narrow"] == "T"
    reasons = {row["item"]: row["reason"] for row in quarantine_of(build)}
    assert reasons["outside"] == "wrong_type" and set(reasons) | set(items) == {row["id"] for row in rows}
    assert all(finding.passed for finding in verify(build))


def prompts_project(new_project: New, **chat: Any) -> Project:
    """A homogeneous source, whose sessions share a long prompt, and one whose prompts are all different."""
    project = new_project(
        name="prompts",
        chat={"template": "chatml", "default_system": "none", **chat},
        sources=[chat_source("same", "data/same.jsonl"), chat_source("talks", "data/talks.jsonl")],
        mixture=None,
    )
    system = "Answer each question in one short sentence, and say that you do not know where you do not know."
    rows = [
        {"messages": [{"role": "system", "content": system}, *row["messages"]]}
        for row in question_rows()[:60]
    ]
    project.file("data/same.jsonl", json_lines(rows))
    return project


def trained_prompts(build: Path) -> dict[str, set[bool]]:
    """For each source, whether its items say that their prompts are trained."""
    found: dict[str, set[bool]] = {}
    for item in items_of(build).values():
        found.setdefault(item["source"], set()).add("train_on_prompt" in item["actions"])
    return found


def test_repetition_is_measured_and_reported_whatever_the_recipe_asks(new_project: New) -> None:
    project = prompts_project(new_project)
    build = Path(project.candidate())
    said = orjson.loads((build / "manifest.json").read_bytes())["prompts"]
    assert said["unit"] == "bytes of UTF-8" and said["train_on_prompt"] is False
    assert (
        said["sources"]["same"]["templated_repetition"]
        > 0.5
        > said["sources"]["talks"]["templated_repetition"]
    )
    assert said == {**said, **project.workspace().result("selection").value["prompts"]}
    assert trained_prompts(build) == {"same": {False}, "talks": {False}}
    only_text = new_project(
        name="texts", sources=[text_source("web", "data/web.jsonl")], mixture=None, chat=None
    )
    only_text.file("data/web.jsonl", json_lines(web_rows()))
    assert orjson.loads((Path(only_text.candidate()) / "manifest.json").read_bytes())["prompts"] is None


def test_auto_trains_unique_prompts_masks_homogeneous_ones_and_verify_demands_exactly_that(
    new_project: New,
) -> None:
    project = prompts_project(new_project, train_on_prompt="auto")
    build = Path(project.candidate())
    found = trained_prompts(build)
    assert found["same"] == {False} and True in found["talks"]
    manifest = orjson.loads((build / "manifest.json").read_bytes())
    items = [item for item in items_of(build).values() if "train_on_prompt" in item["actions"]]
    sessions = {(item["source"], item["file"], item["place"]) for item in items}
    assert manifest["prompts"]["sessions_trained_on_prompt"] == len(sessions) > 50
    assert all(item["num_target_tokens"] == item["num_tokens"] - 1 for item in items)
    assert all(finding.passed for finding in verify(build))

    table = pq.read_table(build / "items.parquet")
    rows = table.to_pylist()
    next(row for row in rows if row["actions"])["actions"] = []
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), build / "items.parquet")
    assert len(check_masks(Build.open(build)).problems) == 1


def test_a_new_source_that_repeats_prompts_masks_them_and_encodes_only_what_changed(new_project: New) -> None:
    project = prompts_project(new_project, train_on_prompt="auto")
    before = Path(project.candidate())
    objects = {name: objects_of(project, name) for name in ("same", "talks")}
    echo = [
        {"conversations": [*row["conversations"], {"from": "gpt", "value": "echo"}]} for row in talk_rows()
    ]
    project.file("data/echo.jsonl", json_lines(echo))
    project.save(sources=[*project.recipe["sources"], chat_source("echo", "data/echo.jsonl")])
    after = Path(project.candidate())
    assert True in trained_prompts(before)["talks"]
    assert trained_prompts(after)["talks"] == trained_prompts(after)["echo"] == {False}
    assert objects_of(project, "same") == objects["same"]
    assert set(objects_of(project, "talks")).isdisjoint(objects["talks"])


def objects_of(project: Project, source: str) -> list[str]:
    return list(project.workspace().result("tokens", source).value["objects"])


def test_a_build_that_trains_around_answers_is_proven_and_says_so(
    tmp_path: Path, small_tokenizer: Path
) -> None:
    chat = {"template": "chatml", "default_system": "none", "around_answers": "trained"}
    build = Path(small_project(tmp_path / "project", small_tokenizer, name="around", chat=chat).candidate())
    assert all(finding.passed for finding in verify(build))
    manifest = orjson.loads((build / "manifest.json").read_bytes())
    assert b"around_answers: the prompt's think tags" in orjson.dumps(manifest)
    decode = decoder(build)
    stops = {decode([token]) for token in manifest["tokenizer"]["stop_token_ids"]}
    assert stops == {"<|im_end|>"}
