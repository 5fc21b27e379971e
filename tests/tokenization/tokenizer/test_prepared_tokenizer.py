"""Text to ids and back: exact, without markers out of text, whatever the batching."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenization.sequences import storage_dtype
from tokenization.tokenizer import batches
from tokenization.tokenizer.identity import ODD_TEXTS

TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=60)


def rows(encoded) -> list[list[int]]:
    ids, offsets = encoded
    assert ids.dtype == np.uint32 and offsets.dtype == np.int64
    assert offsets[0] == 0 and offsets[-1] == len(ids)
    return [ids[a:b].tolist() for a, b in itertools.pairwise(offsets)]


@settings(max_examples=100, deadline=None)
@given(texts=st.lists(TEXT, max_size=6))
def test_every_text_comes_back_from_its_ids(tiny, texts: list[str]) -> None:
    encoded = rows(tiny.encode_batch(texts))
    assert len(encoded) == len(texts)
    assert [tiny.decode(row) for row in encoded] == texts
    assert [b"".join(map(tiny.token_bytes, row)).decode() for row in encoded] == texts


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_typed_markers_stay_text(tiny, data) -> None:
    markers = st.sampled_from(sorted(tiny.added_tokens))
    text = "".join(data.draw(st.lists(st.one_of(markers, TEXT), min_size=1, max_size=8)))
    (row,) = rows(tiny.encode_batch([text]))
    assert not tiny.special_ids.intersection(row)
    assert tiny.decode(row) == text


def test_every_marker_has_one_id_and_its_own_text(tiny) -> None:
    assert {"<|endoftext|>", "<think>", "</tool_call>", "<|narrator|>"} <= tiny.added_tokens.keys()
    assert tiny.special_ids == set(tiny.added_tokens.values())
    for token, index in tiny.added_tokens.items():
        assert tiny.token_bytes(index).decode() == token
        (typed,) = rows(tiny.encode_batch([token]))
        assert len(typed) > 1
        assert tiny.decode([*typed, index, *typed]) == token * 3


def test_a_character_of_several_tokens_is_whole_only_in_its_run(tiny) -> None:
    (row,) = rows(tiny.encode_batch(["🦉"]))
    assert len(row) > 1 and tiny.decode(row) == "🦉"
    assert "\ufffd" in tiny.decode(row[:1])


def test_how_texts_are_batched_changes_nothing(tiny, texts, monkeypatch: pytest.MonkeyPatch) -> None:
    given_texts = [*texts, "", *ODD_TEXTS, ""]
    whole = rows(tiny.encode_batch(given_texts))
    monkeypatch.setattr(batches, "BATCH_CHARACTERS", 150)
    assert rows(tiny.encode_batch(given_texts)) == whole
    assert rows(tiny.encode_batch([])) == [] and rows(tiny.encode_batch([""])) == [[]]


def test_threads_share_one_tokenizer(tiny, texts) -> None:
    alone = rows(tiny.encode_batch(texts))
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda _: rows(tiny.encode_batch(texts)), range(8)))
    assert together == [alone] * 8


def test_the_storage_type_follows_the_largest_id(tiny) -> None:
    assert 300 < tiny.vocab_size <= 512 and tiny.largest_id == tiny.vocab_size - 1
    assert storage_dtype(tiny.largest_id) == np.uint16


@pytest.mark.shared
def test_added_tokens_count_for_the_storage_type(prepared) -> None:
    qwen = prepared("qwen3")
    assert qwen.largest_id == 151_668 and storage_dtype(qwen.largest_id) == np.uint32
    assert storage_dtype(prepared("gpt2").largest_id) == np.uint16


@pytest.mark.shared
@pytest.mark.parametrize("name", ["gpt2", "qwen3", "minimind", "llama2", "mistral-v3/tokenizer.model.v3"])
def test_ids_are_those_of_the_reference_and_texts_come_back(prepared, real_texts, name: str) -> None:
    from tokenizers import Tokenizer

    tokenizer = prepared(name)
    reference = Tokenizer.from_file(str(tokenizer.directory / "tokenizer.json"))
    encoded = rows(tokenizer.encode_batch(real_texts))
    for text, row in zip(real_texts, encoded, strict=True):
        assert row == reference.encode(text, add_special_tokens=False).ids
        assert tokenizer.decode(row) == text
    assert sum(map(len, encoded)) > 10_000


@pytest.mark.shared
def test_unflagged_markers_of_qwen3_and_minimind_stay_text(prepared) -> None:
    typed = "<think>\na</think><tool_call>{}</tool_call><tool_response>b</tool_response>"
    for name in ("qwen3", "minimind"):
        tokenizer = prepared(name)
        assert tokenizer.added_tokens["<think>"] in tokenizer.special_ids
        (row,) = rows(tokenizer.encode_batch([typed]))
        assert not tokenizer.special_ids.intersection(row) and tokenizer.decode(row) == typed


@pytest.mark.shared
@pytest.mark.parametrize("name", ["llama2", "llama2/tokenizer.model"])
def test_a_continuing_text_gets_no_space_before_it(prepared, name: str) -> None:
    tokenizer = prepared(name)
    texts = ["Hello", "Hello", " Hello", "", "你好", "Hello"]
    late = [False, True, True, True, True, False]
    first, then, spaced, empty, chinese, last = rows(tokenizer.encode_batch(texts, late))
    assert first == last != then and empty == []
    assert tokenizer.token_bytes(first[0]) == b" Hello" and tokenizer.token_bytes(then[0]) == b"Hello"
    assert spaced == first, "a real space takes the place of the one that is left out"
    assert tokenizer.decode(first) == "Hello"
    assert tokenizer.decode(then, continuing=True) == "Hello"
    assert tokenizer.decode(spaced, continuing=True) == " Hello"
    assert tokenizer.decode(chinese, continuing=True) == "你好"
