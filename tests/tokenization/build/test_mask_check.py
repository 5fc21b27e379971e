"""`masks_proved` looks at every session and text of a build, and names what is not as it must be."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pytest
from corruptions import first_session, items_of, rows_of, save_items, save_manifest, save_rows, segments_of
from corruptions import manifest_of as read_manifest
from hypothesis import given
from hypothesis import strategies as st
from small_recipes import Project

from tokenization.build.contents import Build, Rows
from tokenization.build.mask_check import mask_problems, text_problems, zeros_of
from tokenization.shards import schema_of

Row = dict[str, Any]


@pytest.fixture
def build(good: Project, tmp_path: Path) -> Path:
    """A copy of a whole build."""
    return Path(shutil.copytree(good.out.resolve(), tmp_path / "build"))


def problems_of(build: Path) -> list[str]:
    return mask_problems(Build.open(build))[1]


def name_of(segment: Row) -> str:
    return f"session {segment['item']!r} of {segment['source']}"


def test_a_whole_build_is_proven_and_every_session_and_window_was_looked_at(build: Path) -> None:
    looked_at, problems = mask_problems(Build.open(build))
    rows = rows_of(build) + rows_of(build, "validation")
    sessions = sum(
        bool(segment["source"]) for row in rows if row["kind"] == "sft" for segment in row["segments"]
    )
    windows = sum(row["kind"] == "pretrain" for row in rows)
    assert problems == []
    assert sessions > 200 and windows > 10
    assert looked_at == f"{sessions} sessions and {windows} windows of text"


def test_every_single_flipped_target_of_a_session_is_named_with_its_token(build: Path) -> None:
    rows = rows_of(build)
    row, segment, place = first_session(rows)
    for token in range(place.start, place.stop):
        row["loss_mask"][token] ^= True
        save_rows(build, rows)
        (problem,) = problems_of(build)
        assert problem.startswith(f"train: {name_of(segment)}: token {token - place.start}: "), problem
        row["loss_mask"][token] ^= True


@given(st.lists(st.booleans() | st.just(True), max_size=80), st.integers(0, 20))
def test_the_places_of_unset_flags_are_found_however_the_flags_are_sliced(
    flags: list[bool], begin: int
) -> None:
    assert zeros_of(pa.array(flags, pa.bool_()).slice(begin)).tolist() == [
        place for place, flag in enumerate(flags[begin:]) if not flag
    ]


@given(
    texts=st.lists(st.lists(st.integers(1, 30), min_size=1, max_size=5), min_size=1, max_size=6),
    paddings=st.lists(st.integers(0, 9), min_size=6, max_size=6),
    flip=st.none() | st.integers(0, 10**6),
)
def test_rows_of_text_alone_pass_if_and_only_if_no_bit_of_their_mask_is_wrong(
    texts: list[list[int]], paddings: list[int], flip: int | None
) -> None:
    schema = schema_of(None)
    rows = []
    for lengths, padding in zip(texts, paddings, strict=False):
        mask = [token > 0 for length in lengths for token in range(length)] + [False] * padding
        named = [("books", f"book-{n}", length) for n, length in enumerate(lengths)]
        named += [("", "", padding)] if padding else []
        segments = [
            {"source": source, "item": item, "start": 0, "length": length} for source, item, length in named
        ]
        rows.append(
            {
                "input_ids": list(range(len(mask))),
                "loss_mask": mask,
                "seq_lens": [length for *_, length in named],
                "segments": segments,
                "kind": "pretrain",
            }
        )
    if flip is not None:
        row = rows[flip % len(rows)]
        place = flip % len(row["loss_mask"])
        row["loss_mask"][place] ^= True
    problems = list(text_problems(Rows.of(pa.RecordBatch.from_pylist(rows, schema)), "train"))
    assert len(problems) == (flip is not None)


def test_a_session_that_the_dataset_lacks_and_one_that_stands_twice_are_named(build: Path) -> None:
    rows = rows_of(build)
    (one, _), (other, _) = [pair for row in rows if row["kind"] == "sft" for pair in segments_of(row)][:2]
    lost = dict(other)
    other |= {"source": one["source"], "item": one["item"]}
    save_rows(build, rows)
    problems = problems_of(build)
    assert f"train: {name_of(one)} stands twice in the dataset" in problems
    assert any(name_of(lost) in problem and "not in the dataset" in problem for problem in problems)


def test_a_session_in_the_wrong_split_is_named(build: Path) -> None:
    items = items_of(build)
    moved = next(item for item in items if item["kind"] == "sft" and item["split"] == "train")
    moved["split"] = "validation"
    save_items(build, items)
    problems = problems_of(build)
    assert any(
        p.startswith("train: ") and "not in items.parquet" in p and repr(moved["item"]) in p for p in problems
    )
    assert any(p.startswith("validation: ") and "not in the dataset" in p for p in problems)


def test_a_session_that_items_names_twice_is_a_problem(build: Path) -> None:
    items = items_of(build)
    save_items(build, [*items, next(item for item in items if item["kind"] == "sft")])
    assert any("names a session twice" in problem for problem in problems_of(build))


def test_two_sessions_of_one_length_whose_tokens_were_swapped_are_both_named(build: Path) -> None:
    rows = rows_of(build)
    by_length: dict[int, tuple[Row, Row, slice]] = {}
    for row in rows:
        for segment, place in segments_of(row) if row["kind"] == "sft" else []:
            if segment["source"] and segment["length"] in by_length:
                other_row, other, other_place = by_length[segment["length"]]
                if other_row["input_ids"][other_place] != row["input_ids"][place]:
                    for column in ("input_ids", "loss_mask"):
                        a, b = other_row[column][other_place], row[column][place]
                        other_row[column][other_place], row[column][place] = b, a
                    save_rows(build, rows)
                    problems = problems_of(build)
                    assert [name_of(s) in " ".join(problems) for s in (segment, other)] == [True, True]
                    return
            by_length.setdefault(segment["length"], (row, segment, place))
    pytest.fail("no two sessions of one length")


@pytest.mark.parametrize("column", ["start", "stop", "message"])
def test_spans_that_are_not_what_is_trained_are_named(build: Path, column: str) -> None:
    items = items_of(build)
    item = next(item for item in items if item["kind"] == "sft" and item["split"] == "train")
    item["spans"][0][column] += 1
    save_items(build, items)
    (problem,) = problems_of(build)
    assert repr(item["item"]) in problem and "is recorded where" in problem


def test_messages_that_are_not_what_was_rendered_are_named(build: Path) -> None:
    items = items_of(build)
    item = next(item for item in items if item["kind"] == "sft" and item["split"] == "train")
    messages = orjson.loads(item["messages"])
    messages[-1]["content"] += "?"
    item["messages"] = orjson.dumps(messages).decode()
    save_items(build, items)
    (problem,) = problems_of(build)
    assert repr(item["item"]) in problem and "where the template writes" in problem


def test_another_template_or_another_policy_than_the_builds_proves_nothing(build: Path) -> None:
    config = build / "tokenizer" / "tokenizer_config.json"
    original = config.read_bytes()
    changed = orjson.loads(original)
    changed["chat_template"] += "!"
    config.write_bytes(orjson.dumps(changed))
    assert len(problems_of(build)) > 100
    config.write_bytes(original)
    manifest = read_manifest(build)
    manifest["recipe"]["chat"]["loss_on"] = "last_answer"
    save_manifest(build, manifest)
    problems = problems_of(build)
    assert problems and all("is recorded where" in problem for problem in problems)


def test_a_stop_that_generation_does_not_know_is_a_problem(build: Path) -> None:
    manifest = read_manifest(build)
    manifest["tokenizer"]["stop_token_ids"] = [0]
    save_manifest(build, manifest)
    assert any("no stop of the build" in problem for problem in problems_of(build))


def test_text_is_all_targets_but_first_tokens_and_padding_is_none(build: Path) -> None:
    rows = rows_of(build)
    text = next(row for row in rows if row["kind"] == "pretrain" and len(row["segments"]) > 2)
    inside = [place for _, place in segments_of(text)][1]
    assert not text["loss_mask"][inside.start] and all(text["loss_mask"][inside.start + 1 : inside.stop])
    for token in (inside.start, inside.start + 1):
        text["loss_mask"][token] ^= True
        save_rows(build, rows)
        (problem,) = problems_of(build)
        assert text["segments"][1]["item"] in problem
        text["loss_mask"][token] ^= True


def test_a_manifest_that_counts_other_targets_is_a_problem(build: Path) -> None:
    manifest = read_manifest(build)
    manifest["splits"]["train"]["num_target_tokens"] += 1
    save_manifest(build, manifest)
    (problem,) = problems_of(build)
    held = sum(int(np.sum(row["loss_mask"])) for row in rows_of(build))
    assert f"the dataset has {held}" in problem
