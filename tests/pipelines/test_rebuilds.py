"""A rebuild pays only for what changed, and says what it reused."""

from __future__ import annotations

import json
import os
from typing import Any

import dagster as dg
import pytest
from builds_read import dataset_of, items_of, segments_of
from small_recipes import Project, json_lines, web_rows

from tokenization.stages import chat_jobs, documents, text_tokens

TOKENS = [f"tokens/{name}" for name in ("books", "questions", "talks", "web")]
LAST = [
    *("candidate", "dataset", "loss_mask_preview"),
    *("small_candidate_advice", "small_candidate_checks"),
]


@pytest.fixture
def nothing_is_encoded(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_job: Any) -> int:
        raise AssertionError("something was encoded again")

    monkeypatch.setattr(text_tokens, "encode_chunk", refuse)
    monkeypatch.setattr(chat_jobs, "encode_chunk", refuse)


def observations(project: Project) -> list[Any]:
    with dg.DagsterInstance.from_config(str(project.folder / "dagster")) as instance:
        records = instance.fetch_observations(dg.AssetKey(["small", "dataset"]), limit=10).records
        return [record.asset_observation for record in records if record.asset_observation]


def test_a_first_build_is_one_run_of_every_asset_and_its_checks(good: Project) -> None:
    sources = ["documents/books", "documents/web", "sessions/questions", "sessions/talks"]
    (steps,) = good.steps()
    assert steps == sorted([*sources, *TOKENS, "draw", "selection", "tokenizer", "windows", *LAST])


def test_an_unchanged_recipe_opens_no_run_and_records_one_observation(
    mine: Project, nothing_is_encoded: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    fingerprint = mine.manifest["fingerprint"]
    monkeypatch.setattr(documents, "read_chunk", None)
    stamp = (mine.out / "manifest.json").stat().st_mtime_ns
    told = mine.built()
    assert told["reused"] is True and told["fingerprint"] == fingerprint
    assert len(mine.steps()) == 1, "only the first build's"
    (observation,) = observations(mine)
    assert observation.metadata["fingerprint"].value == fingerprint
    assert (mine.out / "manifest.json").stat().st_mtime_ns == stamp
    assert mine.run("build", mine.path, "--out", mine.out).exit_code == 0
    assert len(mine.steps()) == 1


def test_the_json_line_says_what_came_out(mine: Project) -> None:
    told = mine.built()
    assert list(told) == ["recipe", "fingerprint", "out", "splits", "mixture", "seconds", "reused"]
    assert told["recipe"] == "small" and told["out"] == str(mine.out)
    assert told["splits"] == mine.manifest["splits"] and told["mixture"] == mine.manifest["mixture"]
    assert 0 <= told["seconds"] < 600


def test_touching_one_source_makes_its_chain_again_and_the_small_global_assets(mine: Project) -> None:
    before = {stage: mine.objects(stage) for stage in ("rows", "tokens")}
    rows = [*web_rows(), {"id": "new", "text": "A page that was not there."}]
    mine.file("data/web.jsonl", json_lines(rows))
    told = mine.built()
    assert told["reused"] is False
    early, draw, late = mine.steps()[1:]
    assert early == ["documents/web", "selection", "tokenizer"] and draw == ["draw"]
    assert late == sorted(["tokens/web", "windows", *LAST])
    assert {stage: len(mine.objects(stage) - keys) for stage, keys in before.items()} == {
        "rows": 1,
        "tokens": 1,
    }
    assert ("web", "new") in {(source, item) for _, source, item in items_of(mine.out)}
    assert mine.manifest["sources"]["web"]["items"] == 62


def test_a_duplicate_earlier_in_the_recipe_makes_the_other_source_s_tokens_again(mine: Project) -> None:
    copied = web_rows()[3]
    mine.file("data/books/a-copy.txt", copied["text"])
    mine.built()
    early, draw, late = mine.steps()[1:]
    assert early == ["documents/books", "selection", "tokenizer"] and draw == ["draw"]
    assert late == sorted(["tokens/books", "tokens/web", "windows", *LAST])
    assert mine.manifest["sources"]["web"]["set_aside"]["exact_duplicate"] == 2
    aside = [json.loads(line) for line in (mine.out / "quarantine/web.jsonl").read_text().splitlines()]
    assert "'a-copy.txt' of source 'books'" in next(
        row["detail"] for row in aside if row["item"] == copied["id"]
    )


@pytest.mark.parametrize(
    ("changes", "runs"),
    [
        ({"seed": 18, "validation": 0.2}, [["selection"], ["draw"], ["windows", *LAST]]),
        ({"mixture": {"pretrain_share": 0.12}}, [["draw"], ["windows", *LAST]]),
        pytest.param({"pretrain": {"packing": "best_fit"}}, [["windows", *LAST]], marks=pytest.mark.slow),
    ],
    ids=["seed and validation", "share", "packing"],
)
def test_what_only_moves_windows_encodes_nothing(
    mine: Project, nothing_is_encoded: None, changes: dict[str, Any], runs: list[list[str]]
) -> None:
    fingerprint, tokens = mine.manifest["fingerprint"], mine.objects("tokens")
    mine.save(**changes)
    assert mine.built()["fingerprint"] != fingerprint
    assert mine.steps()[1:] == [sorted(run) for run in runs]
    assert mine.objects("tokens") == tokens


def test_another_window_encodes_nothing_but_the_sessions_that_no_longer_fit(
    mine: Project, nothing_is_encoded: None
) -> None:
    tokens = mine.objects("tokens")
    mine.save(window=96)
    mine.built()
    workspace = mine.workspace()
    values = {name: workspace.result("tokens", name).value for name in ("questions", "talks", "books", "web")}
    assert len(mine.objects("tokens") - tokens) == sum(v["refitted_chunks"] for v in values.values()) == 1
    assert mine.steps()[1:] == [
        ["draw", "tokens/questions", "tokens/talks"],
        sorted(["windows", *LAST]),
    ]
    assert values["talks"]["actions"]["drop_turns"] > 0


def test_another_seed_changes_what_is_drawn_and_no_item_s_ids_or_mask(mine: Project) -> None:
    first = dataset_of(mine.out)
    mine.save(seed=4711)
    mine.built()
    second = dataset_of(mine.out)
    assert [row["input_ids"] for row in first["train"]] != [row["input_ids"] for row in second["train"]]
    whole = [
        {
            (source, item): pieces[0]
            for (_, source, item), pieces in segments_of(dataset).items()
            if source in ("questions", "talks")
        }
        for dataset in (first, second)
    ]
    assert len(whole[0]) == 330 and whole[0] == whole[1]


def test_other_words_of_the_same_lengths_are_another_build(mine: Project) -> None:
    """The plan of windows is equal to the number; what stands in them is not."""
    fingerprint = mine.manifest["fingerprint"]
    path = mine.folder / "data" / "questions.jsonl"
    path.write_text(path.read_text().replace('"id": "q17"', '"id": "Q17"'))
    assert mine.built()["fingerprint"] != fingerprint
    assert ("questions", "Q17") in {(source, item) for _, source, item in items_of(mine.out)}


@pytest.mark.slow
def test_what_is_only_set_aside_is_in_the_next_build_s_quarantine(mine: Project) -> None:
    fingerprint = mine.manifest["fingerprint"]
    path = mine.folder / "data" / "talks.jsonl"
    rows = path.read_text()
    path.write_text(rows + "[not, a row\n")
    told = mine.built()
    assert told["fingerprint"] == fingerprint and told["reused"] is False
    assert (mine.out / "quarantine" / "talks.jsonl").read_text().count("\n") == 1
    path.write_text(rows)
    mine.built()
    assert (mine.out / "quarantine" / "talks.jsonl").read_text() == ""


@pytest.mark.slow
def test_a_build_made_before_is_found_again_when_the_recipe_goes_back(
    mine: Project, nothing_is_encoded: None
) -> None:
    fingerprint = mine.manifest["fingerprint"]
    mine.save(seed=18)
    assert mine.built()["fingerprint"] != fingerprint
    mine.save(seed=17)
    told = mine.built()
    assert told["fingerprint"] == fingerprint == mine.manifest["fingerprint"]
    assert told["reused"] is False, "a run switched the link"
    assert mine.built()["reused"] is True


@pytest.mark.slow
def test_an_override_on_the_command_line_is_the_same_as_in_the_recipe(mine: Project) -> None:
    mine.built("--set", "mixture.pretrain_share=0.12")
    assert mine.manifest["recipe"]["mixture"]["pretrain_share"] == 0.12
    assert mine.manifest["mixture"]["asked"] == 0.12
    mine.save(mixture={"pretrain_share": 0.12})
    assert mine.built()["reused"] is True


@pytest.mark.slow
def test_a_file_changed_behind_its_time_stamp_is_seen_with_rehash(mine: Project) -> None:
    path = mine.folder / "data" / "web.jsonl"
    old = path.stat()
    long_ago = old.st_mtime_ns - 10**10
    os.utime(path, ns=(long_ago, long_ago))
    assert mine.built()["reused"] is True
    text = path.read_bytes()
    with open(path, "r+b") as file:  # the same inode, size and time, other bytes
        file.write(text.replace(b"page-0", b"PAGE-0"))
    os.utime(path, ns=(long_ago, long_ago))
    assert mine.built()["reused"] is True
    assert mine.built("--rehash")["reused"] is False
    assert ("web", "PAGE-0") in {(source, item) for _, source, item in items_of(mine.out)}
