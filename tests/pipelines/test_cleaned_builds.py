"""What a recipe's cleaning does to a whole build: replaced, set aside, counted, and nothing else touched."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from builds_read import items_of, ledger_of, quarantine_of
from corruptions import GUARDED
from small_recipes import (
    Project,
    chat_source,
    json_lines,
    question_rows,
    small_project,
    text_source,
    web_rows,
)

from tokenization.build.set_aside_view import clusters_of
from tokenization.build.verify import verify

New = Callable[..., Project]


def tokens_of(project: Project) -> dict[tuple[str, str], int]:
    return {(source, item): row["num_tokens"] for (_, source, item), row in items_of(project.out).items()}


def test_personal_data_is_replaced_in_texts_and_sessions_and_counted_by_kind_and_source(
    new_project: New,
) -> None:
    pages, questions = web_rows(), question_rows()
    pages[4]["text"] += " Write to captain@harbour.example.org or call +44 20 7946 0958."
    questions[6]["messages"][1]["content"] = (
        "Ask first@mate.example.org, second@mate.example.org and 8.8.4.4."
    )
    plain, private = new_project(), new_project(cleaning={"personal_data": {"ip": None}})
    for project in (plain, private):
        project.file("data/web.jsonl", json_lines(pages))
        project.file("data/questions.jsonl", json_lines(questions))
        project.built()
    sources = private.manifest["sources"]
    assert sources["web"]["personal_data"] == {"email": 1, "phone": 1}
    assert sources["questions"]["personal_data"] == {"email": 2}
    assert sources["books"]["personal_data"] == sources["talks"]["personal_data"] == {}
    messages = {row["item"]: row["messages"] for row in items_of(private.out).values() if row["messages"]}
    assert "Ask [email], [email] and 8.8.4.4." in messages["q6"]
    before, after = tokens_of(plain), tokens_of(private)
    assert before.keys() == after.keys(), "ids and provenance stay"
    assert {key for key in before if before[key] != after[key]} == {("web", "page-4"), ("questions", "q6")}
    assert private.run("verify", private.out).exit_code == 0


def test_a_replacement_that_is_personal_data_itself_is_refused(new_project: New) -> None:
    result = new_project(cleaning={"personal_data": {"email": "a@b.org"}}).build()
    assert result.exit_code == 2 and "cleaning.personal_data.email" in result.stderr


QUIZ = web_rows()[9]["text"]  # of 3 sentences
PASSAGE = " ".join(web_rows()[30]["text"].split()[:24])


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, small_tokenizer: Path, empty_instance: Path) -> Project:
    """A recipe with two evaluation sets: one page quotes a quiz, one session is a dialogue of the other; many pages
    come again with a sentence more, so that some of them meet across the splits."""
    project = small_project(tmp_path_factory.mktemp("guarded") / "project", small_tokenizer)
    shutil.copytree(empty_instance, project.folder / "dagster")
    pages, questions = web_rows(), question_rows()
    long = next(row for row in questions if len(row["messages"][1]["content"].split()) > 9)
    answer = {**long, "id": "answers"}
    answer["messages"] = [long["messages"][0], {"role": "assistant", "content": f"So it is. {PASSAGE}"}]
    again = [
        {"id": f"again-{n}", "text": f"{row['text']} One sentence more."}
        for n, row in enumerate(pages[10:60])
    ]
    project.file(
        "data/web.jsonl", json_lines([*pages, {"id": "quotes", "text": f"They ask: {QUIZ.upper()}"}, *again])
    )
    project.file("data/questions.jsonl", json_lines([*questions, answer]))
    quiz = [
        {"id": "hard", "question": QUIZ},
        {"id": "tiny", "question": "Why?"},
        {"id": "nowhere", "question": " ".join(f"unheard{n}" for n in range(20))},
    ]
    talk = question_rows()[40]["messages"]
    project.file("eval/quiz.jsonl", json_lines(quiz))
    project.file("eval/talks.jsonl", json_lines([{"id": "dialogue", "messages": talk}]))
    sets = [
        text_source("quiz", "eval/quiz.jsonl", text_field="question"),
        chat_source("talks", "eval/talks.jsonl"),
    ]
    project.save(cleaning={"decontamination": {"sets": sets, "leak_limit": 0.9}})
    project.built()
    return project


def test_what_holds_an_evaluation_set_s_text_is_set_aside_with_the_item_and_the_n_gram(
    guarded: Project,
) -> None:
    rows = [row for row in quarantine_of(guarded.out) if row["reason"] == "contaminated"]
    assert {(row["source"], row["item"], row["stage"]) for row in rows} == {
        ("web", "page-9", "select"),
        ("web", "quotes", "select"),
        ("questions", "q40", "select"),
    }
    quotes = next(row for row in rows if row["item"] == "quotes")
    assert (quotes["overlap"]["set"], quotes["overlap"]["item"], quotes["overlap"]["share"]) == (
        "quiz",
        "hard",
        1.0,
    )
    assert quotes["overlap"]["character"] == len("They ask: ")
    assert f"They ask: {QUIZ.upper()}".index(quotes["overlap"]["ngram"]) == len("They ask: ")
    assert (
        quotes["overlap"]["ngram"] in quotes["detail"]
        and "'hard' of evaluation set 'quiz'" in quotes["detail"]
    )
    present = {(source, item) for _, source, item in items_of(guarded.out)}
    assert present.isdisjoint({(row["source"], row["item"]) for row in rows}) and ("web", "page-8") in present


def test_evaluation_sets_are_counted_and_so_is_what_they_take(guarded: Project) -> None:
    manifest = guarded.manifest
    told = manifest["decontamination"]
    assert (told["ngram"], told["shortest"], told["threshold"]) == (13, 8, 0.0)
    quiz, talks = told["sets"]["quiz"], told["sets"]["talks"]
    assert (quiz["items"], quiz["too_short"], quiz["found"]) == (3, 1, 1)
    assert (talks["items"], talks["too_short"], talks["found"]) == (1, 0, 1)
    taken = {name: source["set_aside"].get("contaminated", 0) for name, source in manifest["sources"].items()}
    assert taken == {"books": 0, "web": 2, "questions": 1, "talks": 0}
    selected = {
        row["source"]: row["removed"]
        for row in ledger_of(guarded.out)
        if row["stage"] == "select" and row["unit"] == "documents"
    }
    assert selected["web"] == {"contaminated": 2, "exact_duplicate": 1}


def test_leaks_are_those_that_a_plain_look_finds(guarded: Project) -> None:
    """A page and the same with a sentence more, on two sides; an answer whose passage stands in a page."""
    splits = {item: split for (split, source, item) in items_of(guarded.out) if source == "web"}
    pairs = [(f"page-{n + 10}", f"again-{n}") for n in range(50)]
    expected = {
        held
        for pair in pairs
        for held, other in (pair, pair[::-1])
        if splits.get(held) == "validation" and splits.get(other) == "train"
    }
    table = pq.read_table(guarded.out / "quarantine" / "leaks.parquet").to_pylist()
    found = {row["item"] for row in table if row["question"] == "validation"}
    assert len(expected) > 3 and expected == found
    assert all(row["share"] >= 0.5 and row["ngram"] for row in table)
    answers = [row for row in table if row["question"] == "answers"]
    assert {row["item"] for row in answers} == {"answers"} or splits["page-30"] == "validation"
    told = guarded.manifest["decontamination"]["leaks"]
    assert told["validation"]["leaked"] == len(found) and told["answers"]["leaked"] == len(answers)
    assert told["validation"]["items"] == sum(split == "validation" for split, _, _ in items_of(guarded.out))


def test_another_threshold_or_source_looks_up_only_what_it_must(guarded: Project) -> None:
    before = guarded.objects("overlaps")
    recipe = dict(guarded.recipe)
    changed = {**recipe["cleaning"]["decontamination"], "threshold": 0.3}
    guarded.save(cleaning={"decontamination": changed})
    try:
        guarded.candidate()
        assert guarded.objects("overlaps") == before
    finally:
        guarded.save(**recipe)


@pytest.mark.parametrize(
    ("check", "corrupt"),
    [
        pytest.param(check, corrupt, id=f"{check}-{corrupt.__name__}")
        for check, ways in GUARDED.items()
        for corrupt in ways
    ],
)
def test_each_corruption_fails_its_check_and_no_other(
    guarded: Project, tmp_path: Path, check: str, corrupt: Callable[[Path], None]
) -> None:
    build = Path(shutil.copytree(guarded.out.resolve(), tmp_path / "build"))
    assert [finding.name for finding in verify(build) if not finding.passed] == []
    corrupt(build)
    assert [finding.name for finding in verify(build) if not finding.passed] == [check]


def test_leaks_beyond_the_limit_warn_and_the_build_is_published(guarded: Project) -> None:
    recipe = dict(guarded.recipe)
    guarded.save(cleaning={"decontamination": {**recipe["cleaning"]["decontamination"], "leak_limit": 0.01}})
    try:
        before = guarded.manifest["inputs_fingerprint"]
        guarded.built()
        assert guarded.manifest["inputs_fingerprint"] != before, "published"
        result = guarded.run("verify", guarded.out)
        assert result.exit_code == 0 and "warn leaks" in result.stdout and "leaks.parquet" in result.stdout
    finally:
        guarded.save(**recipe)
        guarded.built()


def test_an_evaluation_set_that_is_not_there_is_refused_before_anything_runs(new_project: New) -> None:
    sets = [text_source("quiz", "eval/missing.jsonl")]
    result = new_project(cleaning={"decontamination": {"sets": sets}}).build()
    assert result.exit_code == 2 and "missing.jsonl" in result.stderr


@pytest.fixture(scope="module")
def sifted(tmp_path_factory: pytest.TempPathFactory, small_tokenizer: Path, empty_instance: Path) -> Project:
    """Near duplicates taken out and rules that reject some of one source."""
    project = small_project(tmp_path_factory.mktemp("sifted") / "project", small_tokenizer)
    shutil.copytree(empty_instance, project.folder / "dagster")
    pages = web_rows()
    alike = [{"id": f"like-{n}", "text": pages[n]["text"] + " Again."} for n in (20, 21)]
    twice = {"id": "like-20-too", "text": "Once. " + pages[20]["text"]}
    project.file("data/web.jsonl", json_lines([*pages, *alike, twice, {"id": "tiny", "text": "Too short."}]))
    rules: list[Any] = [{"min_length": {"min": 20}}, {"max_length": {"max": 2000}}]
    project.save(cleaning={"near_dedup": 0.7, "rules": rules})
    project.built()
    return project


def test_clusters_of_near_duplicates_are_written_out_and_the_first_in_recipe_order_stays(
    sifted: Project,
) -> None:
    clusters = list(clusters_of(sifted.out))
    named = [[(row["item"], row["kept"]) for row in cluster] for cluster in clusters]
    assert [("page-20", True), ("like-20", False), ("like-20-too", False)] in named
    assert [("page-21", True), ("like-21", False)] in named
    assert sifted.manifest["near_duplicate_clusters"] == len(clusters) == 2
    assert all(
        row["similarity"] == 1 if row["kept"] else 0.7 <= row["similarity"] < 1 for c in clusters for row in c
    )
    gone = {row["item"] for row in quarantine_of(sifted.out) if row["reason"] == "near_duplicate"}
    assert gone == {row["item"] for cluster in clusters for row in cluster if not row["kept"]}


def test_each_rejection_is_counted_per_rule_and_source_with_its_row_and_figure(sifted: Project) -> None:
    rows = [row for row in quarantine_of(sifted.out) if row["reason"] in ("min_length", "max_length")]
    assert {(row["source"], row["reason"], row["item"] or row["file"]) for row in rows} == {
        ("web", "min_length", "tiny"),
        ("books", "max_length", "long.txt"),
    }
    tiny = next(row for row in rows if row["reason"] == "min_length")
    assert tiny["detail"] == "min_length rejects it: 10" and json.loads(tiny["row"])["text"] == "Too short."
    sources = sifted.manifest["sources"]
    assert (
        sources["web"]["set_aside"]["min_length"] == sources["web"]["rules_would_remove"]["min_length"] == 1
    )
    assert sources["books"]["set_aside"] == {"max_length": 1}


def test_the_command_shows_counts_samples_and_clusters(sifted: Project, guarded: Project) -> None:
    shown = sifted.run("quarantine", sifted.out, "--samples", 3)
    assert shown.exit_code == 0
    for part in (
        "web: 1 min_length",
        "min_length rejects it: 10",
        "Too short.",
        "2 clusters of near duplicates",
        "web page-20 (stays)",
        "web like-20 (goes, ",
    ):
        assert part in shown.stdout, shown.stdout
    told = json.loads(sifted.run("quarantine", sifted.out, "--reason", "min_length", "--json").stdout)
    assert [(row["source"], row["count"]) for row in told["reasons"]] == [("web", 1)]
    assert told["clusters"] == []
    assert "leak, validation: " in guarded.run("quarantine", guarded.out).stdout
    assert guarded.run("quarantine", guarded.folder / "nowhere").exit_code == 2


def test_a_dry_run_keeps_everything_and_counts_in_the_manifest(new_project: New) -> None:
    project = new_project(
        cleaning={"rules": [{"min_length": {"min": 200}}, {"max_length": {"max": 2000}}], "dry": True}
    )
    project.built()
    sources = project.manifest["sources"]
    assert sources["books"]["rules_would_remove"] == {"max_length": 1}
    assert sources["web"]["rules_would_remove"]["min_length"] >= 1
    assert not {"min_length", "max_length"} & {row["reason"] for row in quarantine_of(project.out)}
    assert "would remove: min_length" in project.run("quarantine", project.out).stdout


def test_surrogates_and_controls_are_dealt_with_and_counted_in_texts_and_in_sessions(
    new_project: New,
) -> None:
    pages, questions = web_rows(), question_rows()
    project = new_project()
    broken = (
        '{"id": "broken", "text": "A lone \\ud800 one, a bell \\u0007 and a long enough text around them."}\n'
    )
    project.file("data/web.jsonl", json_lines(pages) + broken)
    said = '{"id": "odd", "messages": [{"role": "user", "content": "What \\udfff is it?"}, '
    said += '{"role": "assistant", "content": "A half of a pair."}]}\n'
    project.file("data/questions.jsonl", json_lines(questions) + said)
    project.built()
    sources = project.manifest["sources"]
    assert sources["web"]["changed"] == {"controls_removed": 1, "surrogates_replaced": 1}
    assert sources["questions"]["changed"] == {"surrogates_replaced": 1}
    odd = next(row for (_, _, item), row in items_of(project.out).items() if item == "odd")
    assert "What \ufffd is it?" in odd["messages"]
