"""Words and n-grams are those that reading one character after another gives, for any script and any cut."""

from __future__ import annotations

import random

import numpy as np
import pyarrow as pa
import pytest
from duplicate_texts import column, plain_ngrams, plain_words
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from tokenization.duplicates import words as words_module
from tokenization.duplicates.characters import (
    KIND_SHIFT,
    SPACED,
    ascii_kinds,
    kinds_and_lower_cases,
)
from tokenization.duplicates.ngrams import ngrams
from tokenization.duplicates.words import Words, words_of

LETTERS = "abcXYZ09_-.,'\n\t \0ÀéßİıΣς汉字かカ丿ไทย한글नमन्\U00020000\U0001f600\U0010ffff“”　！\u0301"
texts = st.text(st.sampled_from(LETTERS) | st.characters(exclude_categories=["Cs"]), max_size=60)
columns = st.lists(texts, max_size=8)


def written(texts: list[str], words: Words) -> list[list[str]]:
    """The words as they stand in their texts."""
    bounds = zip(words.offsets[:-1].tolist(), words.offsets[1:].tolist(), strict=True)
    return [
        [text[words.begins[at] : words.ends[at]] for at in range(first, last)]
        for text, (first, last) in zip(texts, bounds, strict=True)
    ]


def lowered(word: str) -> str:
    return "".join(low if len(low := character.lower()) == 1 else character for character in word)


@given(columns)
@example(["\U000e0100", "葛\U000e0100"])  # a variation selector is a mark, and separates all the same
@settings(max_examples=200, deadline=None)
def test_words_stand_where_a_plain_reader_finds_them(texts: list[str]) -> None:
    found = written(texts, words_of(column(texts)))
    assert [[lowered(word) for word in words] for words in found] == [plain_words(text) for text in texts]


@given(columns)
@settings(max_examples=100, deadline=None)
def test_words_have_one_hash_exactly_when_they_are_the_same_in_lower_case(texts: list[str]) -> None:
    words = words_of(column(texts))
    plain = [word for text in texts for word in plain_words(text)]
    assert len(set(plain)) == len(np.unique(words.hashes))
    assert len(set(zip(plain, words.hashes.tolist(), strict=True))) == len(set(plain))


@given(columns, st.integers(1, 7))
@settings(max_examples=100, deadline=None)
def test_ngrams_are_equal_when_their_words_are_and_never_cross_texts(texts: list[str], n: int) -> None:
    hashes, offsets = ngrams(words_of(column(texts)), n)
    plain = [plain_ngrams(text, n) for text in texts]
    assert np.diff(offsets).tolist() == [len(grams) for grams in plain]
    flat = [gram for grams in plain for gram in grams]
    assert len(set(zip(flat, hashes.tolist(), strict=True))) == len(set(flat)) == len(np.unique(hashes))


@pytest.mark.parametrize("n", [1, 2, 3, 5, 8, 13, 31])
def test_a_reordered_ngram_is_another(n: int) -> None:
    text = " ".join(str(number) for number in range(n))
    other = " ".join(str(number) for number in reversed(range(n)))
    hashes, _ = ngrams(words_of(column([text, other, text])), n)
    assert hashes[0] == hashes[2]
    assert (hashes[0] == hashes[1]) == (n == 1)


@given(columns, st.data())
@settings(max_examples=60, deadline=None)
def test_any_cut_into_columns_gives_the_same_words(texts: list[str], data: st.DataObject) -> None:
    assume(len(texts) > 1)
    cut = data.draw(st.integers(0, len(texts)))
    whole = words_of(column(texts))
    chunked = words_of(pa.chunked_array([column(texts[:cut]), column(texts[cut:])]))
    sliced = [words_of(column(texts).slice(0, cut)), words_of(column(texts).slice(cut))]
    assert np.array_equal(whole.hashes, chunked.hashes)
    assert np.array_equal(whole.hashes, np.concatenate([part.hashes for part in sliced]))
    assert np.array_equal(whole.begins, np.concatenate([part.begins for part in sliced]))


@pytest.mark.parametrize("alphabet", ["ab c\n", "éa 汉", "aé"])
def test_a_text_longer_than_a_block_is_cut_at_white_space(
    alphabet: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(3)
    texts = ["".join(rng.choices(alphabet, k=size)) for size in (5, 700, 0, 64, 65, 300, 3, 3)]
    whole = words_of(column(texts))
    monkeypatch.setattr(words_module, "BLOCK", 64)
    monkeypatch.setattr(words_module, "LOOK_BACK", 48)
    cut = words_of(column(texts))
    if " " in alphabet:
        assert np.array_equal(whole.hashes, cut.hashes)
        assert np.array_equal(whole.begins, cut.begins) and np.array_equal(whole.ends, cut.ends)
        assert np.array_equal(whole.offsets, cut.offsets)
    else:  # one word of 700 letters falls to pieces, whatever stands before it in the column
        alone = words_of(column(texts[1:2]))
        assert np.array_equal(alone.hashes, cut.hashes[cut.offsets[1] : cut.offsets[2]])
        assert len(alone.hashes) > 10
        assert "".join(written(texts, cut)[1]) == texts[1]


def test_the_short_way_for_ascii_is_the_long_way() -> None:
    both = kinds_and_lower_cases()[:128]
    assert (both >> KIND_SHIFT).astype(np.uint8).tobytes() == ascii_kinds()[:128]
    assert (both & 0xFFFF).astype(np.uint8).tobytes() == bytes(range(128)).lower()
    assert set(ascii_kinds()[128:]) == {0} and ascii_kinds()[ord("a")] == SPACED


def test_null_and_narrow_string_columns_are_read_too() -> None:
    words = words_of(pa.array(["one two", None, "three"], pa.string()))
    assert words.offsets.tolist() == [0, 2, 2, 3]
    assert np.array_equal(words.hashes, words_of(column(["one two three"])).hashes)
    assert words_of(column([])).offsets.tolist() == [0]
