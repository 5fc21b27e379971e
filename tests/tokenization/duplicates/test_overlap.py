"""Overlap is found wherever a plain comparison of n-grams finds it."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from duplicate_texts import column, plain_ngrams, plain_words, prose
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenization.duplicates.overlap import HashSet, NgramIndex

texts = st.lists(st.lists(st.sampled_from(["a", "b", "汉", "é,"]), max_size=12).map(" ".join), max_size=6)


@given(texts, texts, st.integers(1, 4))
@settings(max_examples=150, deadline=None)
def test_the_share_is_that_of_a_plain_comparison(guarded: list[str], texts: list[str], n: int) -> None:
    index = NgramIndex.build([column(guarded)], n, shortest=n)
    known = {gram for text in guarded for gram in plain_ngrams(text, n)}
    overlap = index.contaminated(column(texts))
    for text, share, first in zip(texts, overlap.share, overlap.first, strict=True):
        grams = plain_ngrams(text, n)
        hits = [gram for gram in grams if gram in known]
        assert share == (len(hits) / len(grams) if grams else 0)
        assert (tuple(plain_words(first)) if first is not None else None) == (hits[0] if hits else None)


@given(texts, st.integers(0, 6))
@settings(max_examples=40, deadline=None)
def test_an_index_built_in_any_columns_is_the_same(guarded: list[str], cut: int) -> None:
    whole = NgramIndex.build([column(guarded)], 3, shortest=2)
    parts = NgramIndex.build([column(guarded[:cut]), column(guarded[cut:])], 3, shortest=2)
    assert list(whole.sets) == list(parts.sets)
    assert all(np.array_equal(whole.sets[n].hashes, parts.sets[n].hashes) for n in whole.sets)
    assert (whole.num_texts, whole.too_short) == (parts.num_texts, parts.too_short)


def test_a_planted_passage_is_found_and_shown_as_it_stands() -> None:
    rng = random.Random(2)
    questions = [prose(rng, 30) for _ in range(50)]
    passage = " ".join(questions[7].split()[4:18])
    page = f"{prose(rng, 500)}\n“{passage.upper().replace(' ', ' -- ')}” {prose(rng, 500)}"
    overlap = NgramIndex.build([column(questions)]).contaminated(
        column([prose(rng, 900), page, questions[0]])
    )
    assert overlap.share.tolist() == [0, 2 / (1014 - 12), 1]
    assert overlap.first[0] is None
    assert plain_words(overlap.first[1] or "") == passage.split()[:13]
    assert (overlap.first[1] or "").count(" -- ") == 12
    assert overlap.above(0.5).tolist() == [False, False, True]
    assert overlap.above(0).tolist() == [False, True, True]


def test_short_guarded_texts_count_as_one_ngram_and_shorter_ones_are_counted() -> None:
    index = NgramIndex.build(
        [column(["what is the capital of the old kingdom", "a phrase of six words only", ""])]
    )
    assert list(index.sets) == [8, 13]
    assert (index.num_texts, index.too_short) == (3, 2)
    overlap = index.contaminated(
        column(
            [
                "So: what is the capital of the old kingdom?",
                "what is the capital",
                "a phrase of six words only",
            ]
        )
    )
    assert overlap.first == ["what is the capital of the old kingdom", None, None]
    assert overlap.above(0).tolist() == [True, False, False]


def test_the_leading_bits_never_hide_a_member() -> None:
    rng = np.random.default_rng(1)
    for size in (0, 1, 7, 5000):
        hashes = rng.integers(0, 2**64, size, dtype=np.uint64)
        members = HashSet.of(np.concatenate([hashes, hashes[: size // 2]]))
        others = rng.integers(0, 2**64, 5000, dtype=np.uint64)
        assert len(members.hashes) == size
        assert members.contains(hashes).all() and not members.contains(others).any()


def test_an_empty_index_finds_nothing_and_impossible_lengths_are_refused() -> None:
    overlap = NgramIndex.build([]).contaminated(column([prose(random.Random(0), 50), None, ""]))
    assert not overlap.share.any() and overlap.first == [None] * 3
    with pytest.raises(ValueError, match="at least one word"):
        NgramIndex.build([], n=0)


@pytest.mark.shared
def test_print_chapters_overlap_with_the_online_book_and_not_with_another_language(shared: Path) -> None:
    folder = shared / "data" / "raw" / "md"
    book, printed, chinese = (
        column([path.read_text("utf-8") for path in sorted((folder / name).glob("*.md"))])
        for name in ("rust-book", "rust-book-nostarch", "trpl-zh-cn")
    )
    index = NgramIndex.build([book])
    assert len(printed) > 20 and len(chinese) > 100
    assert np.median(index.contaminated(printed).share) > 0.5
    assert np.median(index.contaminated(chinese).share) < 0.2
