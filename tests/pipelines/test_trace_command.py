"""From a token back to its source, held against the raw files and the messages, byte for byte."""

from __future__ import annotations

import itertools
import json
import shutil
import unicodedata
from pathlib import Path
from typing import Any

import orjson
import pytest
from builds_read import dataset_of, items_of
from small_recipes import (
    Project,
    books,
    chat_source,
    json_lines,
    small_project,
    talk_rows,
    text_source,
    web_rows,
    write_tokenizer,
)

from tokenization.build.showing import words_of
from tokenization.errors import RecipeError
from tokenization.tracing.token import Traced, trace

ANSWERS = {"content", "reasoning_content", "template", "stop"}
THINKING = """{%- set ns = namespace(last=-1) %}
{%- for m in messages %}{%- if m.role == 'user' %}{%- set ns.last = loop.index0 %}{%- endif %}{%- endfor %}
{%- for m in messages %}
{{- '<|im_start|>' + m.role + '\\n' }}
{%- if m.role == 'assistant' and loop.index0 > ns.last %}
{{- '<think>\\n' + (m.reasoning_content or '') + '\\n</think>\\n\\n' }}
{%- endif %}
{{- m.content + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n<think>\\n\\n</think>\\n\\n' }}{%- endif %}"""


def texts() -> dict[tuple[str, str], str]:
    """(source, item) -> the document, as it should be read."""
    read = {("books", name): text for name, text in books().items()}
    read |= {("web", row["id"]): row["text"] for row in web_rows()}
    return {name: unicodedata.normalize("NFC", text.replace("\r\n", "\n")) for name, text in read.items()}


def every_token(build: Path, split: str, rows: list[int], folder: Path) -> list[Traced]:
    dataset = dataset_of(build)[split]
    return [
        trace(build, split, row, token, [folder])
        for row in rows
        for token in range(len(dataset[row]["input_ids"]))
    ]


@pytest.fixture(scope="module")
def traced(good: Project) -> list[Traced]:
    """All tokens of a few rows: chats and texts, with padding, with several documents, of both splits."""
    dataset = dataset_of(good.out)
    found = []
    for split, chosen in (("train", 2), ("validation", 1)):
        rows = list(enumerate(dataset[split]))
        chats = [number for number, row in rows if row["kind"] == "sft"]
        padded = [number for number in chats if not dataset[split][number]["segments"][-1]["source"]]
        texts = [(len(row["segments"]), number) for number, row in rows if row["kind"] == "pretrain"]
        wanted = [padded[0], *chats[: chosen - 1], *([max(texts)[1]] if split == "train" else [])]
        found += every_token(good.out, split, wanted, good.folder)
    return found


def test_bytes_of_a_document_stand_where_the_trace_says(traced: list[Traced]) -> None:
    read = texts()
    of_text = [each for each in traced if each.part == "text"]
    assert len(of_text) > 90
    assert {each.document and each.document.counted_in for each in of_text} == {"source"}
    for each in of_text:
        assert each.item is not None and each.document is not None and each.source is not None
        text = read[each.item["source"], each.item["item"]]
        found = each.document.characters
        whole = text[found.start : found.stop].encode()
        assert whole[found.first_byte : len(whole) - found.missing] == each.bytes
        assert len(whole) == found.num_bytes and each.source.state == "agrees"
        before = text[: found.start]
        assert each.document.line == before.count("\n") + 1
        assert each.document.column == len(before.rpartition("\n")[2]) + 1


def test_a_document_is_tiled_by_its_tokens_and_closed_by_its_end(traced: list[Traced]) -> None:
    ends = [each for each in traced if each.part == "document_end"]
    assert ends
    for each in ends:
        assert each.item is not None and each.document is not None and each.is_control
        length = len(texts()[each.item["source"], each.item["item"]])
        assert (each.document.characters.start, each.document.characters.stop) == (length, length)
    for one, two in itertools.pairwise(traced):
        if one.part == two.part == "text" and one.segment == two.segment:
            assert one.document is not None and two.document is not None
            a, b = one.document.characters, two.document.characters
            shared = bool(b.first_byte)
            assert b.start == a.stop - shared


def test_bytes_of_a_message_stand_where_the_trace_says(good: Project, traced: list[Traced]) -> None:
    items = items_of(good.out)
    said = [each for each in traced if each.session is not None and each.session.characters is not None]
    assert len(said) > 150 and {each.session.role for each in said if each.session} >= {"user", "assistant"}
    partial = 0
    for each in said:
        assert each.item is not None and each.session is not None and each.session.characters is not None
        row = items[each.split, each.item["source"], each.item["item"]]
        message = json.loads(row["messages"])[each.session.number]
        found = each.session.characters
        whole = message[each.session.part][found.start : found.stop].encode()
        assert whole[found.first_byte : len(whole) - found.missing] == each.bytes
        assert message["role"] == each.session.role
        partial += bool(found.first_byte or found.missing)
    assert partial, "no character was spelled by several tokens"


def test_characters_of_the_rendered_text_are_counted_from_the_sessions_beginning(
    good: Project, traced: list[Traced]
) -> None:
    dataset, words = dataset_of(good.out), words_of(good.out, good.manifest)
    chats = [each for each in traced if each.session is not None]
    assert chats
    for each in chats:
        own = slice(each.segment.begin, each.segment.begin + each.segment.length)
        rendered = b"".join(words.bytes_of(dataset[each.split][each.row]["input_ids"][own])).decode()
        found = each.characters
        whole = rendered[found.start : found.stop].encode()
        assert whole[found.first_byte : len(whole) - found.missing] == each.bytes


def test_parts_and_masks_are_the_datasets(good: Project, traced: list[Traced]) -> None:
    dataset = dataset_of(good.out)
    assert {each.part for each in traced} >= {
        "content", "header", "stop", "behind_stop", "end", "text", "document_end", "padding",
    }  # fmt: skip
    for each in traced:
        row = dataset[each.split][each.row]
        assert (each.id, each.trained, each.kind) == (
            row["input_ids"][each.token],
            row["loss_mask"][each.token],
            row["kind"],
        )
        segment = row["segments"][each.segment.number]
        assert segment["length"] == each.segment.length and segment["start"] == each.segment.start
        assert (each.part == "padding") == (segment["source"] == "") == (each.item is None)
        if each.session is not None:
            is_target = each.session.role == "assistant" and each.part in ANSWERS
            assert each.trained == is_target
        first = each.token == each.segment.begin and each.part != "padding"
        assert ("nothing in the segment predicts it" in each.why) == (first and not each.trained)


def without_sources(project: Project, tmp_path: Path) -> Path:
    """The build alone, where nothing that it was made from is."""
    return Path(shutil.copytree(project.out, tmp_path / "alone"))


def test_a_build_alone_counts_characters_in_the_documents_own_tokens(
    good: Project, traced: list[Traced], tmp_path: Path
) -> None:
    alone = without_sources(good, tmp_path)
    known = unknown = 0
    for each in [each for each in traced if each.document is not None][::7]:
        again = trace(alone, each.split, each.row, each.token, [tmp_path])
        assert again.source is not None and again.source.state == "missing"
        if again.document is None:
            unknown += 1
            assert each.segment.start > 0
            continue
        known += 1
        assert each.document is not None and again.document.counted_in == "tokens" and again.document.exact
        assert again.document.characters == each.document.characters
        assert (again.document.line, again.document.column) == (each.document.line, each.document.column)
    assert known > 10


def test_a_source_that_changed_is_said_to_and_is_not_counted_in(mine: Project) -> None:
    dataset = dataset_of(mine.out)["train"]
    row, token = next(
        (number, sum(each["seq_lens"][:place]) + 1)
        for number, each in enumerate(dataset)
        for place, segment in enumerate(each["segments"])
        if segment["source"] == "books" and segment["start"] == 0 and segment["length"] > 2
    )
    before = trace(mine.out, "train", row, token, [mine.folder])
    assert before.source is not None and before.source.state == "agrees" and before.item is not None
    path = mine.folder / "data/books" / before.item["file"]
    path.write_text("Another. " + path.read_text())
    after = trace(mine.out, "train", row, token, [mine.folder])
    assert after.source is not None and (after.source.state, after.source.path) == ("changed", str(path))
    assert after.document is not None and before.document is not None
    assert after.document.counted_in == "tokens" and after.document.characters == before.document.characters
    told = mine.run("trace", mine.out, "--row", row, "--token", token, "--recipe", mine.path)
    assert told.exit_code == 0 and "changed after the build" in told.stdout


def test_a_document_that_is_neither_here_nor_shown_from_its_beginning_has_no_character(
    good: Project, tmp_path: Path
) -> None:
    alone = without_sources(good, tmp_path)
    dataset = dataset_of(good.out)
    shown = {
        (split, segment["source"], segment["item"], segment["start"])
        for split, rows in dataset.items()
        for row in rows
        for segment in row["segments"]
    }
    for split, rows in dataset.items():
        for number, row in enumerate(rows):
            segment = row["segments"][0]
            if row["kind"] == "pretrain" and segment["start"]:
                if (split, segment["source"], segment["item"], 0) in shown:
                    continue
                found = trace(alone, split, number, 3, [tmp_path])
                assert found.document is None and found.token_in_item == segment["start"] + 3
                told = good.run("trace", alone, "--row", number, "--token", 3, "--split", split,
                                "--recipe", tmp_path)  # fmt: skip
                assert (
                    "character unknown" in told.stdout and f"token {segment['start'] + 3} of" in told.stdout
                )
                return
    pytest.skip("every document is shown from its beginning")


def test_out_of_range_is_one_message_and_exit_2(good: Project) -> None:
    windows = good.manifest["splits"]["train"]["num_windows"]
    for options, told in (
        (("--row", windows, "--token", 0), f"the train split has {windows} rows, 0 to {windows - 1}"),
        (("--row", 0, "--token", 128), "row 0 has 128 tokens, 0 to 127"),
        (("--row", 0, "--token", -1), "--token"),
    ):
        result = good.run("trace", good.out, *options)
        assert result.exit_code == 2 and told in result.stderr, result.output
        assert isinstance(result.exception, SystemExit)
    with pytest.raises(RecipeError, match=r"no manifest\.json"):
        trace(good.folder, "train", 0, 0)


def test_the_line_for_programs_holds_what_the_lines_for_people_say(good: Project) -> None:
    result = good.run("trace", good.out, "--row", 1, "--token", 40, "--recipe", good.folder, "--json")
    assert result.exit_code == 0, result.output
    (line,) = result.stdout.splitlines()
    told: dict[str, Any] = orjson.loads(line)
    assert list(told) == [
        "split", "row", "token", "kind", "id", "text", "bytes", "is_control", "tokens", "characters", "trained",
        "weight", "part", "why", "segment", "token_in_item", "item", "session", "document", "before", "after",
        "source_text",
    ]  # fmt: skip
    people = good.run("trace", good.out, "--row", 1, "--token", 40, "--recipe", good.folder).stdout
    assert told["item"]["item"] in people and told["why"] in people and f"id {told['id']}" in people


@pytest.fixture(scope="module")
def thinking(tmp_path_factory: pytest.TempPathFactory, empty_instance: Path) -> Project:
    """Talks under a template that rewrites earlier turns and supplies a think block; texts in other formats."""
    folder = tmp_path_factory.mktemp("thinking")
    markers = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>")
    tokenizer = write_tokenizer(folder / "tokenizer", markers=markers, template=THINKING)
    project = small_project(
        folder / "project",
        tokenizer,
        chat={"template": "tokenizer", "default_system": "none"},
        sources=[text_source("web", "data/web.csv"), chat_source("talks", "data/long.jsonl")],
        mixture={"pretrain_share": 0.14},
        window=512,
    )
    rows = "".join(f'{row["id"]},"{row["text"]}"\n' for row in web_rows())
    project.file("data/web.csv", "id,text\n" + rows)
    project.file("data/long.jsonl", json_lines(talk_rows()))
    shutil.copytree(empty_instance, project.folder / "dagster")
    project.built()
    return project


def test_a_cut_says_what_the_prompt_supplied_and_which_answers_other_cuts_train(thinking: Project) -> None:
    dataset = dataset_of(thinking.out)["train"]
    row = next(
        number
        for number, each in enumerate(dataset)
        if each["kind"] == "sft" and any("#1" in segment["item"] for segment in each["segments"])
    )
    segments = dataset[row]["segments"]
    place = next(number for number, segment in enumerate(segments) if "#1" in segment["item"])
    begin = sum(dataset[row]["seq_lens"][:place])
    found = [
        trace(thinking.out, "train", row, begin + token, [thinking.folder])
        for token in range(segments[place]["length"])
    ]
    supplied = [each for each in found if each.part == "supplied"]
    assert b"".join(each.bytes for each in supplied) == b"<think>\n\n</think>\n\n"
    assert all("serving supplies" in each.why and not each.trained for each in supplied)
    earlier = [each for each in found if "another cut of this session trains" in each.why]
    assert earlier and not any(each.trained for each in earlier)
    own = {each.session.number for each in found if each.trained and each.session is not None}
    assert len(own) == 1 and own.isdisjoint(
        each.session.number for each in earlier if each.session is not None
    )


def test_rows_of_a_table_are_found_again(thinking: Project) -> None:
    dataset = dataset_of(thinking.out)["train"]
    row = next(number for number, each in enumerate(dataset) if each["kind"] == "pretrain")
    found = [trace(thinking.out, "train", row, token, [thinking.folder]) for token in (5, 100, 300, 500)]
    assert {each.source.state for each in found if each.source} == {"agrees"}
    read = {row["id"]: row["text"] for row in web_rows()}
    for each in found:
        if each.part == "text" and each.document is not None and each.item is not None:
            characters = each.document.characters
            text = read[each.item["item"]][characters.start : characters.stop].encode()
            assert text[characters.first_byte : len(text) - characters.missing] == each.bytes
