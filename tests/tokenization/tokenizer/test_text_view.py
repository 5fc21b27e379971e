"""Markers never come out of text, and vocabulary in the guise of added tokens still does."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from tokenization.tokenizer.definition import Definition, is_marker
from tokenization.tokenizer.engines import FastEncoder, OracleEncoder


def entry(content: str, index: int, *, special: bool) -> dict[str, Any]:
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": index, "content": content, "special": special, **flags}


def byte_level(added: list[dict[str, Any]], **model: Any) -> Definition:
    """A hand-made byte-level BPE over a few letters."""
    letters = [*"ab<>/think|sd=Ġ", "aa", "<s", "<s>"]
    steps = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    merges = [["a", "a"], ["<", "s"], ["<s", ">"]]
    bpe = {"type": "BPE", "dropout": None, "unk_token": None, "fuse_unk": False, "byte_fallback": False}
    vocab = {token: index for index, token in enumerate(dict.fromkeys(letters))}
    document = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": steps,
        "post_processor": None,
        "decoder": steps,
        "model": bpe | {"ignore_merges": False, "vocab": vocab, "merges": merges} | model,
    }
    return Definition(document)


@pytest.mark.parametrize("token", ["<think>", "<tool_call>", "[INST]", "<|file_sep|>", "<｜end▁of▁turn｜>"])
def test_an_unflagged_token_in_brackets_is_a_marker(token: str) -> None:
    assert is_marker(entry(token, 1, special=False))


@pytest.mark.parametrize("token", ["  ", "\n\n", "\t\t", "word", "<table>", "</h1>", "<", "[ ", "a>b"])
def test_blanks_words_and_html_elements_stay_vocabulary(token: str) -> None:
    assert not is_marker(entry(token, 1, special=False))
    assert is_marker(entry(token, 1, special=True)), "a flag is a flag"


@pytest.mark.parametrize("engine", [FastEncoder, OracleEncoder])
@pytest.mark.parametrize("ignore_merges", [False, True])
def test_merges_and_lookups_that_would_make_a_marker_are_out_of_reach(
    engine: Any, ignore_merges: bool
) -> None:
    definition = byte_level([], ignore_merges=ignore_merges)
    marker = definition.model_vocab["<s>"]
    plain, _ = engine(definition.text_view()).encode(["<s>"])
    assert plain.tolist() == [marker], "without the marker the model merges it: the trap is real"
    marked = byte_level([entry("<s>", marker, special=True)], ignore_merges=ignore_merges)
    ids, _ = engine(marked.text_view()).encode(["<s>", "a<s>aa"])
    assert marker not in ids.tolist() and len(ids) == 2 + 4


@pytest.mark.parametrize("engine", [FastEncoder, OracleEncoder])
def test_an_unflagged_marker_stays_text_and_a_run_of_letters_is_still_one_token(engine: Any) -> None:
    definition = byte_level([entry("<think>", 18, special=False), entry("aaaa", 19, special=False)])
    ids, offsets = engine(definition.text_view()).encode(["<think>", "aaaa"])
    assert offsets.tolist() == [0, 7, 8] and ids[7] == 19, "its id does not move up when a marker is hidden"


def test_the_view_does_not_touch_the_definition_and_drops_what_would_cut_or_pad() -> None:
    definition = byte_level([entry("<s>", 16, special=True)], dropout=0.5)
    definition.document["truncation"] = {"max_length": 1}
    before = orjson.dumps(definition.document)
    view = orjson.loads(definition.text_view(continuing=True))
    assert orjson.dumps(definition.document) == before
    assert view["truncation"] is None and view["model"]["dropout"] is None


@pytest.mark.parametrize(
    ("normalizer", "pre_tokenizer", "scope"),
    [
        (None, None, "never"),
        ({"type": "Prepend", "prepend": "▁"}, None, "always"),
        (
            {"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Prepend", "prepend": "▁"}]},
            None,
            "always",
        ),
        (None, {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": False}, "first"),
        (None, {"type": "Metaspace", "replacement": "▁", "add_prefix_space": True}, "always"),
        (
            None,
            {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
            "always",
        ),
    ],
)
def test_the_space_before_a_string_is_found_and_left_out_of_a_continuing_view(
    normalizer: Any, pre_tokenizer: Any, scope: str
) -> None:
    definition = byte_level([])
    definition.document.update(normalizer=normalizer, pre_tokenizer=pre_tokenizer)
    assert definition.prefix_scope == scope
    continuing = Definition(orjson.loads(definition.text_view(continuing=True)))
    assert continuing.prefix_scope == "never"
    assert Definition(orjson.loads(definition.text_view())).prefix_scope == scope


def test_vocabulary_size_counts_tokens_and_the_largest_id_sees_gaps() -> None:
    definition = byte_level([entry("<s>", 16, special=True), entry("<far>", 70_000, special=True)])
    assert definition.largest_id == 70_000
    assert definition.vocab_size == len(definition.model_vocab) + 1
