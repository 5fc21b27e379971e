"""What a published build holds, read by strangers' libraries and counted again from nothing."""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builds_read import (
    Key,
    Row,
    dataset_of,
    decoder,
    items_of,
    joined,
    ledger_of,
    quarantine_of,
    segments_of,
)
from small_recipes import WINDOW, Project, books, question_rows, talk_rows, web_rows

from tokenization.build.showing import page_of_build
from tokenization.preview.page import html_page

DOCUMENT_END, STOP = "<|endoftext|>", "<|im_end|>"


@pytest.fixture(scope="module")
def build(good: Project) -> Path:
    return good.out


@pytest.fixture(scope="module")
def dataset(build: Path) -> dict[str, list[Row]]:
    return dataset_of(build)


@pytest.fixture(scope="module")
def items(build: Path) -> dict[Key, Row]:
    return items_of(build)


@pytest.fixture(scope="module")
def segments(dataset: dict[str, list[Row]]) -> dict[Key, Any]:
    return segments_of(dataset)


@pytest.fixture(scope="module")
def manifest(good: Project) -> dict[str, Any]:
    return good.manifest


def cleaned_texts() -> dict[tuple[str, str], str]:
    """(source, item) -> the text as a person would say that it should be read."""
    files = {("books", name): text for name, text in books().items()}
    pages = {("web", row["id"]): row["text"] for row in web_rows()}
    return {
        key: unicodedata.normalize("NFC", text.replace("\r\n", "\n")) for key, text in (files | pages).items()
    }


def test_datasets_opens_both_splits_with_the_columns_of_the_contract(build: Path) -> None:
    from datasets import DatasetDict, load_from_disk

    loaded = load_from_disk(str(build / "dataset"))
    assert isinstance(loaded, DatasetDict) and set(loaded) == {"train", "validation"}
    for split in loaded.values():
        assert len(split) > 10
        assert split.column_names == ["input_ids", "loss_mask", "seq_lens", "segments", "kind"]
        assert (
            {len(row) for row in split["input_ids"]} == {len(row) for row in split["loss_mask"]} == {WINDOW}
        )
        assert {sum(row) for row in split["seq_lens"]} == {WINDOW}
        assert set(split["kind"]) == {"pretrain", "sft"}


def test_every_document_that_is_whole_in_the_dataset_decodes_to_its_cleaned_text(
    build: Path, items: dict[Key, Row], segments: dict[Key, Any]
) -> None:
    decode, texts = decoder(build), cleaned_texts()
    whole = cut_up = 0
    for key, pieces in segments.items():
        if items[key]["kind"] != "pretrain":
            continue
        ids = joined(pieces)
        text = texts[key[1:]] + DOCUMENT_END
        if ids is not None and len(ids) == items[key]["num_tokens"]:
            whole += 1
            cut_up += len(pieces) > 1
            assert decode(ids) == text
        else:
            for piece, _ in pieces.values():
                assert decode(piece).strip("\ufffd") in text
    assert whole > 30 and cut_up > 5


def test_every_token_of_a_text_but_the_first_of_a_segment_is_a_target(
    items: dict[Key, Row], segments: dict[Key, Any]
) -> None:
    seen = 0
    for key, pieces in segments.items():
        if items[key]["kind"] == "pretrain":
            for _, mask in pieces.values():
                seen += 1
                assert mask == [False] + [True] * (len(mask) - 1)
    assert seen > 50


def test_the_trained_tokens_of_every_session_are_its_answers_each_with_its_stop(
    build: Path, items: dict[Key, Row], segments: dict[Key, Any]
) -> None:
    decode = decoder(build)
    sessions = several = 0
    for key, item in items.items():
        if item["kind"] != "sft":
            continue
        ((ids, mask),) = segments[key].values()
        answers = [m["content"] for m in json.loads(item["messages"]) if m["role"] == "assistant"]
        assert decode(np.array(ids)[mask]) == "".join(answer + STOP for answer in answers)
        assert sum(mask) == item["num_target_tokens"] and len(ids) == item["num_tokens"]
        spans = [slice(span["start"], span["stop"]) for span in item["spans"]]
        assert [decode(ids[span]) for span in spans] == [answer + STOP for answer in answers]
        sessions += 1
        several += len(answers) > 1
    assert sessions == 330 and several > 20


def test_every_session_stands_in_its_split_once_and_whole(
    dataset: dict[str, list[Row]], items: dict[Key, Row]
) -> None:
    shown = Counter(
        (split, segment["source"], segment["item"])
        for split, rows in dataset.items()
        for row in rows
        if row["kind"] == "sft"
        for segment in row["segments"]
        if segment["source"]
    )
    assert shown == Counter(key for key, item in items.items() if item["kind"] == "sft")


def test_transformers_renders_what_was_rendered_up_to_each_answer_and_whole(
    build: Path, items: dict[Key, Row], segments: dict[Key, Any]
) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(build / "tokenizer"))
    compared = 0
    for key, item in items.items():
        if item["kind"] != "sft" or "<|im_" in item["messages"]:
            continue  # typed markers: here they stay text, there they would be parsed
        messages = json.loads(item["messages"])
        ((ids, _),) = segments[key].values()
        assert tokenizer.apply_chat_template(messages, return_dict=False) == ids
        for span in item["spans"]:
            before = messages[: span["message"]]
            prompt = tokenizer.apply_chat_template(before, add_generation_prompt=True, return_dict=False)
            assert prompt == ids[: span["start"]]
            compared += 1
    assert compared > 350


def test_a_typed_marker_is_text_and_never_the_special_token(
    build: Path, segments: dict[Key, Any], manifest: dict[str, Any]
) -> None:
    (ids,) = (joined(pieces) for key, pieces in segments.items() if key[1:] == ("questions", "q5"))
    assert ids is not None
    text = decoder(build)(ids)
    assert text.count(STOP) == 3 and text.count("<|im_start|>assistant") == 2
    assert ids.count(manifest["tokenizer"]["stop_token_ids"][0]) == 2


def test_generation_stops_where_training_stopped(build: Path, manifest: dict[str, Any]) -> None:
    from transformers import AutoTokenizer, GenerationConfig

    tokenizer = AutoTokenizer.from_pretrained(str(build / "tokenizer"))
    stops = manifest["tokenizer"]["stop_token_ids"]
    assert tokenizer.convert_ids_to_tokens(stops) == [STOP]
    config = GenerationConfig.from_pretrained(str(build / "tokenizer"))
    assert set(stops) <= set(np.atleast_1d(config.eos_token_id).tolist())
    assert tokenizer.convert_ids_to_tokens(manifest["tokenizer"]["document_end_token_id"]) == DOCUMENT_END
    assert len(tokenizer) == manifest["tokenizer"]["vocab_size"]


def test_every_row_that_was_read_is_kept_or_in_quarantine(build: Path, items: dict[Key, Row]) -> None:
    read = {
        "books": len(books()),
        "web": len(web_rows()) + 1,  # a broken line
        "questions": len(question_rows()) + 3,  # an unknown role, an empty answer, a copy
        "talks": len(talk_rows()),
    }
    kept = Counter(source for _, source, _ in items)
    aside = Counter(row["source"] for row in quarantine_of(build))
    assert Counter(read) == kept + aside
    assert Counter((row["source"], row["stage"], row["reason"]) for row in quarantine_of(build)) == {
        ("web", "ingest", "invalid_json"): 1,
        ("web", "select", "exact_duplicate"): 1,
        ("questions", "ingest", "unknown_role"): 1,
        ("questions", "render", "empty_answer"): 1,
        ("questions", "select", "exact_duplicate"): 1,
    }


def test_quarantine_keeps_the_row_as_it_came_with_its_place_and_a_reason_in_words(build: Path) -> None:
    aside = {row["reason"]: row for row in quarantine_of(build) if row["source"] == "web"}
    broken, copy = aside["invalid_json"], aside["exact_duplicate"]
    assert (broken["file"], broken["place"], broken["row"]) == ("web.jsonl", len(web_rows()) + 1, "{broken")
    assert copy["item"] == "copy-of-7" and "'page-7' of source 'web'" in copy["detail"]
    assert json.loads(copy["row"]) == {"id": "copy-of-7", "text": web_rows()[7]["text"]}
    assert all(row["detail"] for row in quarantine_of(build))


def assert_amounts(amounts: dict[tuple[str, str, str], Row], items: dict[Key, Row]) -> None:
    """The ledger's characters and bytes of texts, counted again from the sources and the items."""
    raw = {("books", name): text for name, text in books().items()}
    raw |= {("web", row["id"]): row["text"] for row in web_rows()}
    clean = cleaned_texts()
    lengths: dict[str, Any] = {"characters": len, "bytes": lambda text: len(text.encode())}
    for unit, size in lengths.items():
        for name in ("books", "web"):
            ingest, select, draw, encode = (
                amounts[name, stage, unit] for stage in ("ingest", "select", "draw", "encode")
            )
            read = {key: text for key, text in clean.items() if key[0] == name}
            assert ingest["out"] == select["in"] == sum(map(size, read.values())) > 1000
            copies = size(web_rows()[7]["text"]) if name == "web" else 0
            assert select["removed"] == ({"exact_duplicate": copies} if copies else {})
            kept = [size(clean[name, item]) for _, source, item in items if source == name]
            assert (
                draw["in"] - draw["removed"].get("not_drawn", 0) == draw["out"] == encode["out"] == sum(kept)
            )
        written = sum(size(text) for key, text in raw.items() if key[0] == "books")
        newlines = raw["books", "短篇.txt"].count("\r\n")
        decoded = amounts["books", "ingest", unit]
        assert (
            decoded["in"] - decoded["removed"].get("newlines_normalised", 0)
            == decoded["out"]
            == written - newlines
        )


def test_the_ledger_is_what_counting_again_gives(
    build: Path, dataset: dict[str, list[Row]], items: dict[Key, Row]
) -> None:
    kind_of = {source: item["kind"] for (_, source, _), item in items.items()}
    aside = Counter((row["stage"], row["source"], row["reason"]) for row in quarantine_of(build))
    tokens: Counter[tuple[str, str]] = Counter()
    for (split, source, _), item in items.items():
        tokens[source, ""] += item["num_tokens"]
        tokens[kind_of[source], split] += item["num_tokens"]
    checked = Counter[str]()
    amounts: dict[tuple[str, str, str], Row] = {}
    for entry in ledger_of(build):
        stage, source, split = entry["stage"], entry["source"], entry["split"]
        checked[stage] += 1
        if entry["unit"] in ("characters", "bytes"):
            amounts[source, stage, entry["unit"]] = entry
            continue
        closes = entry["in"] + sum(entry["added"].values()) - sum(entry["removed"].values())
        assert closes == entry["out"], entry
        if stage in ("ingest", "select", "render"):
            removed = {reason: n for (s, name, reason), n in aside.items() if (s, name) == (stage, source)}
            assert entry["removed"] == removed, entry
        if stage == "encode" and entry["unit"] == "tokens":
            assert entry["out"] == tokens[source, ""], entry
        if stage == "pack":
            assert entry["in"] == tokens[source, split], entry
        if stage == "mix":
            shown = sum(len(row["input_ids"]) for row in dataset[split] if row["kind"] == source)
            assert entry["out"] == shown, entry
        if stage == "write":
            assert entry["out"] == sum(len(row["input_ids"]) for row in dataset[split]), entry
    assert_amounts(amounts, items)
    assert checked == {
        "ingest": 8,
        "select": 8,
        "draw": 6,
        "encode": 10,
        "render": 2,
        "cut": 2,
        "pack": 4,
        "mix": 4,
        "write": 2,
    }


def test_the_manifest_counts_what_is_there(
    dataset: dict[str, list[Row]], items: dict[Key, Row], manifest: dict[str, Any], build: Path
) -> None:
    for split, rows in dataset.items():
        padding = sum(s["length"] for row in rows for s in row["segments"] if not s["source"])
        told = manifest["splits"][split]
        assert told["num_windows"] == len(rows) == sum(shard["num_windows"] for shard in told["shards"])
        assert told["num_pad_tokens"] == padding > 0
        assert told["num_tokens"] == WINDOW * len(rows) - padding
        assert told["num_target_tokens"] == sum(sum(row["loss_mask"]) for row in rows)
    for source, told in manifest["sources"].items():
        own = [item for (_, name, _), item in items.items() if name == source]
        assert told["items"] == len(own)
        assert told["tokens"] == sum(item["num_tokens"] for item in own)
        assert told["target_tokens"] == sum(item["num_target_tokens"] for item in own)
        reasons = Counter(row["reason"] for row in quarantine_of(build) if row["source"] == source)
        assert told["set_aside"] == reasons
        assert told["rows"] == told["items"] + sum(told["set_aside"].values())
    assert manifest["proof"] == {"sessions": 331, "proven": 330, "set_aside": 1, "lossy": 0}


def test_the_share_is_the_asked_one_to_one_window(
    dataset: dict[str, list[Row]], manifest: dict[str, Any]
) -> None:
    amounts: Counter[str] = Counter()
    for row in dataset["train"]:
        amounts[row["kind"]] += sum(s["length"] for s in row["segments"] if s["source"])
    mixture = manifest["mixture"]
    total = amounts.total()
    assert abs(amounts["pretrain"] - 0.15 * total) <= WINDOW
    assert mixture["achieved"]["total_tokens"] == amounts["pretrain"] / total
    assert mixture["not_drawn"]["windows"] > 0 and mixture["repetition"] < 1


def test_any_forty_rows_hold_their_part_of_text_to_one_window(dataset: dict[str, list[Row]]) -> None:
    text = np.array([row["kind"] == "pretrain" for row in dataset["train"]])
    assert len(text) > 100
    counts = np.convolve(text, np.ones(40, int), "valid")
    assert np.abs(counts - 40 * text.mean()).max() <= 1


def test_train_and_validation_share_no_content(items: dict[Key, Row]) -> None:
    hashes = {
        split: {(item["kind"], item["content_hash"]) for (s, _, _), item in items.items() if s == split}
        for split in ("train", "validation")
    }
    assert hashes["train"] and hashes["validation"]
    assert not hashes["train"] & hashes["validation"]
    assert len(hashes["train"]) + len(hashes["validation"]) == len(items)
    assert 0.05 < len(hashes["validation"]) / len(items) < 0.15


def test_items_are_named_by_their_own_id_or_by_their_place(items: dict[Key, Row]) -> None:
    names = {(source, item) for _, source, item in items}
    assert {
        ("books", "短篇.txt"),
        ("web", "page-3"),
        ("questions", "q17"),
        ("talks", "talks.jsonl:2"),
    } <= names
    for (_, source, item), row in items.items():
        if source == "talks":
            assert item == f"{row['file']}:{row['place']}"
        assert row["cut"] is None and row["actions"] == []


def test_the_preview_page_is_whole_and_fetches_nothing(build: Path) -> None:
    page = (build / "preview.html").read_text()
    assert "questions" in page and len(page) > 10_000
    assert not re.search(r"""(src|href)=["']?https?:|url\(["']?https?:|fetch\(|@import""", page)


def test_what_the_preview_shows_is_chosen_alike_while_items_are_written_and_from_their_file(
    build: Path,
) -> None:
    page = page_of_build(build)
    assert {each.source for each in page.sequences} > {"questions", "talks"}
    assert html_page(page) == (build / "preview.html").read_text()


def test_the_build_is_an_immutable_version_behind_a_link(build: Path, manifest: dict[str, Any]) -> None:
    assert build.is_symlink() and build.resolve().name == manifest["fingerprint"]
    assert build.resolve().parent.name == "small.versions"
    expected = {
        "manifest.json",
        "dataset",
        "items.parquet",
        "tokenizer",
        "ledger.json",
        "quarantine",
        "preview.html",
    }
    assert {path.name for path in build.iterdir()} == expected
