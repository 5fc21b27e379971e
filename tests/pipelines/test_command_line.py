"""The commands beside `build` and `verify`: `init`, `render`, `replay`, `preview`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from builds_read import dataset_of, quarantine_of, segments_of
from small_recipes import Project


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_init_writes_a_recipe_that_reads_and_never_over_another(
    good: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tokenization.recipe.load import load_recipe

    monkeypatch.chdir(tmp_path)
    assert good.run("init", "first").exit_code == 0
    assert load_recipe(tmp_path / "first.yaml").name == "first"
    again = good.run("init", "first")
    assert again.exit_code == 2 and "there already" in again.stderr


def test_render_with_the_recipe_gives_what_the_build_holds(good: Project) -> None:
    result = good.run("render", good.folder / "data/questions.jsonl", "--recipe", good.path, "--json")
    assert result.exit_code == 0, result.output
    told = {row["id"]: row for row in lines(result.stdout)}
    shown = {
        item: pieces[0]
        for (_, source, item), pieces in segments_of(dataset_of(good.out)).items()
        if source == "questions"
    }
    assert len(shown) == 260
    for item, (ids, mask) in shown.items():
        assert told[item] == {"id": item, "input_ids": ids, "loss_mask": [int(flag) for flag in mask]}
    assert {row["set_aside"] for row in told.values() if "set_aside" in row} == {
        "unknown_role",
        "empty_answer",
    }


def test_render_takes_plain_sessions_with_a_tokenizer_and_a_template(
    good: Project, small_tokenizer: Path, tmp_path: Path
) -> None:
    sessions = tmp_path / "plain.jsonl"
    session = {
        "id": 7,
        "messages": [{"role": "user", "content": "Hm?"}, {"role": "assistant", "content": "Ha."}],
    }
    sessions.write_text(json.dumps(session) + "\n" + json.dumps({"id": "b", "messages": []}) + "\n")
    options = ("--tokenizer", small_tokenizer, "--template", "chatml", "--json")
    result = good.run("render", sessions, *options)
    assert result.exit_code == 0, result.output
    first, second = lines(result.stdout)
    assert first["id"] == "7" and len(first["input_ids"]) == len(first["loss_mask"])
    assert 0 < sum(first["loss_mask"]) < len(first["loss_mask"])
    assert second["id"] == "b" and second["set_aside"]
    wider = lines(good.run("render", sessions, *options, "--around-answers", "trained").stdout)[0]
    assert wider["input_ids"] == first["input_ids"]
    assert sum(wider["loss_mask"]) == sum(first["loss_mask"]) + 1  # the line break behind the stop


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ([], "either --recipe RECIPE or --tokenizer PATH"),
        (["--tokenizer", "{tokenizer}"], "template"),
        (["--tokenizer", "nowhere"], "nowhere"),
        (["--tokenizer", "{tokenizer}", "--template", "vicuna-9"], "vicuna-9"),
    ],
)
def test_render_refuses_what_it_cannot_do_in_one_message(
    good: Project, small_tokenizer: Path, options: list[str], told: str
) -> None:
    given = [option.format(tokenizer=small_tokenizer) for option in options]
    result = good.run("render", good.folder / "data/questions.jsonl", *given)
    assert result.exit_code == 2 and told in result.stderr, result.output
    assert isinstance(result.exception, SystemExit) and result.stderr.count("tokenmill: ") == 1


def test_rows_set_aside_come_back_with_replay_once_the_recipe_is_mended(mine: Project) -> None:
    first = mine.run("replay", mine.out, "--json")
    assert first.exit_code == 0, first.output
    rows = lines(first.stdout)
    assert len(rows) == len(quarantine_of(mine.out)) == 5
    assert [row["now"] for row in rows] == [row["was"] for row in rows]
    mine.save(chat={**mine.recipe["chat"], "roles": {"oracle": {"trained": False}}})
    mended = mine.run("replay", mine.out, "--recipe", mine.path, "--json")
    assert mended.exit_code == 0, mended.output
    changed = [row for row in lines(mended.stdout) if row["now"] != row["was"]]
    assert [(row["item"], row["was"], row["now"]) for row in changed] == [
        ("oracle", "unknown_role", "recovered")
    ]


def test_replay_says_in_words_what_became_of_how_many(good: Project) -> None:
    result = good.run("replay", good.out)
    assert result.exit_code == 0, result.output
    assert result.stdout.count("was ") == 5 and "2 exact_duplicate" in result.stdout


def test_preview_shows_sessions_a_row_and_a_page(good: Project, tmp_path: Path) -> None:
    shown = good.run("preview", good.out)
    assert shown.exit_code == 0 and len(shown.stdout) > 1000
    row = good.run("preview", good.out, "--row", 3)
    assert row.exit_code == 0 and row.stdout != shown.stdout
    page = tmp_path / "deep" / "page.html"
    assert good.run("preview", good.out, "--row", 3, "--split", "validation", "--html", page).exit_code == 0
    assert "<html" in page.read_text()
    beyond = good.run("preview", good.out, "--row", 100000)
    assert beyond.exit_code == 2 and "rows, 0 to" in beyond.stderr


def test_the_summary_for_people_says_the_same_as_the_line_for_programs(mine: Project) -> None:
    told = mine.run("build", mine.path, "--out", mine.out).stdout
    train = mine.manifest["splits"]["train"]
    assert "small is up to date" in told and f"{train['num_tokens']:,} tokens" in told
    assert f"{train['num_target_tokens']:,} of them targets" in told
    assert "330 of 331 sessions proved, 1 set aside" in told and str(mine.out / "preview.html") in told
