"""Bad input ends in one clear message and exit code 2, or in a counted set-aside that can be had back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from builds_read import quarantine_of
from small_recipes import (
    Project,
    chat_source,
    json_lines,
    question_rows,
    text_source,
    web_rows,
    write_tokenizer,
)

WEB = text_source("web", "data/web.jsonl")
QUESTIONS = chat_source("questions", "data/questions.jsonl")
FEW_WORDS = text_source("few", "data/few.txt")


def refusal(project: Project, *options: object) -> str:
    """The one message of a build that is refused, and the proof that it left nothing."""
    result = project.build(*options)
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.stdout == "" and result.stderr.startswith("tokenmill: ")
    assert "Traceback" not in result.stderr and result.stderr.count("tokenmill: ") == 1
    beside = [path.name for path in project.out.parent.glob("*")] if project.out.parent.exists() else []
    assert [name for name in beside if project.recipe["name"] in name] == []
    assert not list((project.folder / "store" / "writing").glob("*"))
    return result.stderr


@pytest.fixture
def bad(mine: Project) -> Project:
    """The built project under another name: its store and its instance are warm, its OUT is new."""
    mine.save(name="bad")
    return mine


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        pytest.param({"windows": 128}, ["unknown key 'windows'", "did you mean 'window'?"], id="a wrong key"),
        pytest.param(
            {"mixture": {"pretrain_share": 0.5}}, ["0.5", "allow_outside_range: true"], id="a share of 0.5"
        ),
        pytest.param({"window": 0}, ["window", "0"], id="a window of 0"),
        pytest.param({"window": "wide"}, ["window", "wide"], id="a wrong type"),
        pytest.param(
            {"sources": [text_source("web", "data/**/*.markdown"), QUESTIONS]},
            ["'web'", "no file matches data/**/*.markdown", "nearest existing folder"],
            id="a glob that matches nothing",
        ),
        pytest.param(
            {"tokenizer": {"path": "nowhere/tokenizer"}},
            ["tokenizer.path", "is not there"],
            id="no tokenizer",
        ),
        pytest.param(
            {"chat": {"template": "mine.jinja"}},
            ["chat.template", "chatml"],
            id="a template that is not there",
        ),
        pytest.param(
            {"sources": [WEB, {**WEB, "path": "data/books"}, QUESTIONS]},
            ["'web'", "its own"],
            id="a name twice",
        ),
        pytest.param({"sources": [WEB]}, ["mixture", "nothing to mix"], id="a mixture of one kind"),
    ],
)
def test_a_wrong_recipe_is_refused_before_anything_runs(
    bad: Project, changes: dict[str, Any], told: list[str]
) -> None:
    bad.save(**changes)
    message = refusal(bad)
    assert [part for part in told if part not in message] == []
    assert len(bad.steps()) == 1, "no Dagster run was opened"


def test_a_recipe_that_is_not_there_is_named_with_its_neighbour(mine: Project) -> None:
    result = mine.run("build", mine.folder / "smal.yaml")
    assert result.exit_code == 2 and "there is no such file; did you mean" in result.stderr
    assert "small.yaml" in result.stderr


def test_an_impossible_override_is_refused(bad: Project) -> None:
    assert "mixture" in refusal(bad, "--set", "mixture.pretrain_share=7")
    assert "unknown key" in refusal(bad, "--set", "seeed=7")


def test_a_tokenizer_without_a_chat_template_is_refused_where_one_is_asked_for(bad: Project) -> None:
    bad.save(chat=None)  # template: tokenizer, which this one has not
    message = refusal(bad)
    assert "chat" in message and "template" in message and "chatml" in message


def test_chatml_without_its_stop_names_it_and_the_line_to_add(bad: Project) -> None:
    bare = write_tokenizer(bad.folder / "bare", markers=("<|endoftext|>",))
    bad.save(tokenizer={"path": str(bare)})
    message = refusal(bad)
    assert "<|im_end|>" in message
    assert 'tokenizer.add_special_tokens: ["<|im_end|>"]' in message


@pytest.mark.slow
def test_chatml_builds_once_that_line_is_added(bad: Project) -> None:
    bare = write_tokenizer(bad.folder / "bare", markers=("<|endoftext|>",))
    bad.save(tokenizer={"path": str(bare), "add_special_tokens": ["<|im_end|>", "<|im_start|>"]})
    bad.built()
    size = bad.manifest["tokenizer"]["vocab_size"]
    assert bad.manifest["tokenizer"]["stop_token_ids"] == [size - 2]


def test_too_little_text_for_the_share_is_refused_with_the_numbers(bad: Project) -> None:
    bad.file("data/few.txt", "A few words. " * 30)
    bad.save(sources=[FEW_WORDS, QUESTIONS], validation=0)
    message = refusal(bad)
    assert "max_repetition" in message and "0.15" in message.replace("15 %", "0.15").replace("15%", "0.15")
    assert any(character.isdigit() for character in message)


@pytest.mark.parametrize(
    ("source", "content"),
    [
        pytest.param(text_source("junk", "data/junk.jsonl"), "{no\n{json\n" * 20, id="no line is JSON"),
        pytest.param(
            text_source("junk", "data/junk.jsonl"), '{"body_of_work": 3}\n' * 9, id="no field holds text"
        ),
        pytest.param(
            chat_source("junk", "data/junk.jsonl"), '{"text": "a book"}\n' * 9, id="no row is a session"
        ),
        pytest.param(text_source("junk", "data/junk.parquet"), "not parquet at all", id="no parquet"),
        pytest.param(text_source("junk", "data/junk.txt"), "", id="an empty file"),
    ],
)
def test_a_source_of_which_nothing_can_be_read_is_refused_with_its_reasons(
    bad: Project, source: dict[str, Any], content: str
) -> None:
    bad.file(source["path"], content)
    kind_beside = QUESTIONS if source["kind"] == "text" else WEB
    bad.save(sources=[source, kind_beside])
    message = refusal(bad)
    assert "'junk'" in message and ("could be read from" in message or "text_field" in message)


def test_what_cannot_be_read_is_counted_set_aside_and_everything_else_is_built(bad: Project) -> None:
    good_answer = {"role": "assistant", "content": "Yes."}
    odd = [
        {"id": "oracle", "messages": [{"role": "oracle", "content": "?"}, good_answer]},
        {
            "id": "silent",
            "messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": ""}],
        },
        {"id": "unasked", "messages": [{"role": "user", "content": "?"}]},
    ]
    bad.file("data/questions.jsonl", json_lines([*question_rows(), *odd]) + '{"id": "cut off", "mess\n')
    write_parquet(bad.folder / "data" / "tables" / "good.parquet")
    bad.file("data/tables/bad.parquet", b"PAR1 but not really")
    bad.save(sources=[text_source("tables", "data/tables/*.parquet"), WEB, QUESTIONS])
    bad.built()
    aside = {(row["source"], row["item"] or row["file"]): row for row in quarantine_of(bad.out)}
    reasons = {key: row["reason"] for key, row in aside.items()}
    assert reasons[("questions", "oracle")] == "unknown_role"
    assert reasons[("questions", "silent")] == "empty_answer"
    assert ("questions", "unasked") in reasons
    assert reasons[("questions", "questions.jsonl")] == "invalid_json"
    assert reasons[("tables", "bad.parquet")].startswith("unreadable") or reasons[("tables", "bad.parquet")]
    told = bad.manifest["sources"]
    assert told["tables"]["items"] == 20 and told["questions"]["items"] == len(question_rows())
    assert sum(sum(source["set_aside"].values()) for source in told.values()) == len(quarantine_of(bad.out))
    assert json.loads(aside[("questions", "oracle")]["row"])["messages"] == odd[0]["messages"]
    assert aside[("questions", "oracle")]["place"] == len(question_rows()) + 1


def write_parquet(path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist([{"text": row["text"][::-1]} for row in web_rows()[:20]]), path)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["build"], "RECIPE"),
        (["build", "x.yaml", "--workers", "0"], "--workers"),
        (["build", "x.yaml", "--engine", "spark"], "spark"),
        (["verify", "nowhere"], "is not there"),
        (["preview", "nowhere"], "is not there"),
        (["replay", "nowhere"], "is not there"),
        (["bild"], "bild"),
    ],
)
def test_a_wrong_command_line_ends_in_a_message_and_two(
    good: Project, arguments: list[str], told: str
) -> None:
    result = good.run(*arguments)
    assert result.exit_code == 2 and told in result.stderr
    assert isinstance(result.exception, SystemExit) and "Traceback" not in result.output
