"""Two builds beside each other: every change that was made is told, with its reason, and nothing else is."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from builds_read import items_of
from corruptions import train_on_a_prompt
from small_recipes import MARKERS, Project, json_lines, question_rows, talk_rows, web_rows, write_tokenizer

from tokenization.comparing.compare import CHANGES, FLAGS, UNTOLD, Change, Comparison, compare
from tokenization.comparing.manifests import CAUSES
from tokenization.recipe.model import Recipe


def rebuilt(project: Project) -> Comparison:
    """What a build of the project as it is now changes."""
    before = project.out.resolve()
    project.built()
    assert project.out.resolve() != before
    return compare(before, project.out.resolve(), limit=10_000)


def told(found: Comparison) -> dict[str, Change]:
    return {change.change: change for change in found.changes}


def names(change: Change) -> set[tuple[str, str]]:
    assert len(change.samples) == change.count == sum(change.sources.values())
    return {(sample["source"], sample["item"]) for sample in change.samples}


def test_a_build_is_the_same_as_itself(good: Project) -> None:
    result = good.run("diff", good.out, good.out)
    assert result.exit_code == 0 and result.stdout.startswith("the same: ") and result.stdout.count("\n") == 1
    line = json.loads(good.run("diff", good.out, good.out, "--json").stdout)
    assert line["same"] and not line["changes"] and not line["recipe"]
    assert list(line) == [
        "same", "before", "after", "recipe", "made_with", "totals", "set_aside", "unchanged", "unseen", "changes",
    ]  # fmt: skip


def test_what_is_no_build_is_refused(good: Project, tmp_path: Path) -> None:
    result = good.run("diff", good.out, tmp_path)
    assert result.exit_code == 2 and "no manifest.json" in result.stderr


def test_rows_that_came_went_moved_and_changed_are_each_told(mine: Project) -> None:
    questions = question_rows()
    questions[10]["messages"][1]["content"] = "Another answer altogether."  # content
    questions[11]["messages"][1]["content"] = ""  # set aside now
    questions[12]["messages"][1]["train"] = False  # nothing left to learn: set aside now
    del questions[13]  # gone
    silent = {
        "id": "silent",
        "messages": [questions[0]["messages"][0], {"role": "assistant", "content": "Now."}],
    }
    new = {
        "id": "new",
        "messages": [{"role": "user", "content": "New?"}, {"role": "assistant", "content": "New."}],
    }
    mine.file("data/questions.jsonl", json_lines([*questions, silent, new]))
    talks = talk_rows()
    mine.file("data/talks.jsonl", json_lines([talks[-1], *talks[:-1]]))  # named by their lines, which moved
    found = rebuilt(mine)
    changes = told(found)
    assert not found.recipe and not found.same
    assert names(changes["content"]) == {("questions", "q10")}
    assert names(changes["removed"]) == {("questions", "q11"), ("questions", "q12"), ("questions", "q13")}
    assert changes["removed"].reasons[UNTOLD["removed"]] == 1
    assert changes["removed"].reasons["empty_answer"] == 1 and len(changes["removed"].reasons) == 3
    assert names(changes["added"]) == {("questions", "silent"), ("questions", "new")}
    assert changes["added"].reasons == {UNTOLD["added"]: 1, "empty_answer": 1}
    assert names(changes["renamed"]) == {("talks", f"talks.jsonl:{line}") for line in range(1, 71)}
    assert not {"ids", "mask", "cuts", "weight"} & set(changes)
    moved = next(s for s in changes["renamed"].samples if s["item"] == "talks.jsonl:1")
    assert moved["item_differs"] == ["talks.jsonl:1", "talks.jsonl:2"] and moved["place_differs"] == [1, 2]
    counts = {each.key: (each.before, each.after) for each in found.set_aside}
    assert counts["questions: unknown_role"] == (1, None)


def test_flags_of_a_row_change_targets_and_no_token(mine: Project) -> None:
    talks = talk_rows()
    number, talk = next((n, row) for n, row in enumerate(talks, 1) if len(row["conversations"]) >= 4)
    roles = {"human": "user", "gpt": "assistant", "system": "system"}
    messages = [{"role": roles[turn["from"]], "content": turn["value"]} for turn in talk["conversations"]]
    next(message for message in messages if message["role"] == "assistant")["train"] = False
    rows: list[Any] = [*talks[: number - 1], {"messages": messages}, *talks[number:]]
    mine.file("data/talks.jsonl", json_lines(rows))
    mine.save(sources=[*mine.recipe["sources"][:3], {**mine.recipe["sources"][3], "format": "auto"}])
    found = rebuilt(mine)
    changes = told(found)
    assert names(changes["mask"]) == {("talks", f"talks.jsonl:{number}")}
    assert changes["mask"].reasons == {FLAGS: 1} and "content" not in changes and "ids" not in changes


def test_loss_on_the_last_answer_changes_the_targets_of_those_with_several_answers(mine: Project) -> None:
    several = {
        (source, item)
        for (_, source, item), row in items_of(mine.out).items()
        if row["messages"] and sum(m["role"] == "assistant" for m in json.loads(row["messages"])) > 1
    }
    mine.save(chat={**mine.recipe["chat"], "loss_on": "last_answer"})
    found = rebuilt(mine)
    changes = told(found)
    assert [(each.key, each.before, each.after) for each in found.recipe] == [
        ("chat.loss_on", "all_answers", "last_answer")
    ]
    assert len(several) > 10 and names(changes["mask"]) == several and changes["mask"].why == ["chat.loss_on"]
    assert not {"ids", "content", "renamed", "cuts", "removed", "added"} & set(changes)
    for sample in changes["mask"].samples:
        before, after = sample["first_difference"]["before"], sample["first_difference"]["after"]
        assert (before["trained"], after["trained"]) == (True, False) and before["id"] == after["id"]
        assert sample["targets_differs"][0] > sample["targets_differs"][1]
    shown = mine.run("diff", found.before["path"], mine.out, "--limit", 1)
    assert shown.exit_code == 0 and f"{CHANGES['mask']}: {len(several)}" in shown.stdout
    assert "why: chat.loss_on" in shown.stdout and "trained → " in shown.stdout


def test_another_seed_moves_items_and_changes_no_token_and_no_target(mine: Project) -> None:
    before = items_of(mine.out)
    mine.save(seed=18)
    found = rebuilt(mine)
    changes = told(found)
    after = {(source, item): split for split, source, item in items_of(mine.out)}
    moved = {
        (source, item)
        for split, source, item in before
        if after.get((source, item), split) != split
    }  # fmt: skip
    assert moved and names(changes["split"]) == moved and changes["split"].why == ["seed"]
    assert set(changes) <= {"split", "shown", "drawn_now", "not_drawn_now"}
    assert found.unchanged > 100


def test_another_system_prompt_changes_tokens_of_those_that_have_none(mine: Project) -> None:
    without = {
        (source, item)
        for (_, source, item), row in items_of(mine.out).items()
        if row["messages"] and json.loads(row["messages"])[0]["role"] != "system"
    }
    mine.save(chat={**mine.recipe["chat"], "default_system": "Be."})
    mine.save(sources=[*mine.recipe["sources"][:2], {**mine.recipe["sources"][2], "weight": 2.0},
                       mine.recipe["sources"][3]])  # fmt: skip
    changes = told(rebuilt(mine))
    ids = {name for name in names(changes["ids"]) if name[0] in ("questions", "talks")}
    gone = names(changes["removed"]) if "removed" in changes else set()
    assert ids == without - gone and "mask" not in changes
    assert "chat.default_system" in changes["ids"].why
    assert changes["weight"].sources == {"questions": sum(name[0] == "questions" for name in without - gone)}
    assert changes["weight"].why == ["sources[questions].weight"]


@pytest.mark.slow
def test_another_tokenizer_leaves_no_item_the_same(mine: Project, tmp_path: Path) -> None:
    kept = {(source, item) for _, source, item in items_of(mine.out)}
    other = write_tokenizer(tmp_path / "other", markers=("<|extra|>", *MARKERS))  # every id is another one
    mine.save(tokenizer={"path": str(other)})
    found = rebuilt(mine)
    changes = told(found)
    both = kept & {(source, item) for _, source, item in items_of(mine.out)}
    assert found.unchanged == 0 and found.unseen and len(both) > 300
    drawn = {name for way in ("drawn_now", "not_drawn_now") if way in changes for name in names(changes[way])}
    assert len(both - names(changes["ids"]) - drawn) == found.unseen
    assert set(changes["ids"].why) == {"tokenizer.path", "tokenizer.fingerprint"} and "mask" not in changes
    parted = [sample["first_difference"] for sample in changes["ids"].samples if "first_difference" in sample]
    assert len(parted) > 300 and all(each["before"]["id"] != each["after"]["id"] for each in parted)


@pytest.mark.slow
def test_texts_that_a_smaller_share_does_not_draw_are_told_apart_from_those_that_are_gone(
    mine: Project,
) -> None:
    rows = web_rows()
    mine.file("data/web.jsonl", json_lines(rows) + "{broken\n")
    mine.save(mixture={"pretrain_share": 0.11})
    changes = told(rebuilt(mine))
    assert set(changes) <= {"not_drawn_now", "shown"} and changes["not_drawn_now"].count > 3
    assert all(change.why == ["mixture.pretrain_share"] for change in changes.values())


def test_every_cause_is_a_key_that_recipes_have() -> None:
    assert set(CAUSES) == set(CHANGES)
    for cause in {cause for causes in CAUSES.values() for cause in causes}:
        first, _, second = cause.partition(".")
        assert first in Recipe.model_fields, cause
        if second:
            assert second in Recipe.model_fields[first].annotation.model_fields, cause  # type: ignore[union-attr]


@pytest.mark.parametrize("limit", [0, 2])
def test_the_limit_is_of_samples_and_not_of_counts(good: Project, tmp_path: Path, limit: int) -> None:
    build = Path(shutil.copytree(good.out, tmp_path / "build"))
    train_on_a_prompt(build)
    manifest = json.loads((build / "manifest.json").read_text())
    manifest["fingerprint"] = "0" * 32
    (build / "manifest.json").write_text(json.dumps(manifest))
    found = compare(good.out, build, limit=limit)
    assert [(change.change, change.count, len(change.samples)) for change in found.changes] == [
        ("mask", 1, min(limit, 1))
    ]
