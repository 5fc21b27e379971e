"""A signature says how alike two texts are, and follows from the text alone."""

from __future__ import annotations

import random

import numpy as np
import pytest
from duplicate_texts import column, jaccard, near_copy, prose
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenization.duplicates.bands import Bands, choose_bands
from tokenization.duplicates.signatures import algorithm, signatures

texts = st.lists(st.text("ab 汉é.", max_size=40), min_size=1, max_size=6)


def agreement(one: str, other: str, num_perm: int = 128) -> float:
    left, right = signatures(column([one, other]), num_perm)
    return float((left == right).mean())


@pytest.mark.parametrize("similarity", [0.3, 0.5, 0.8, 0.9, 0.95])
@pytest.mark.parametrize("words", [50, 800])
def test_agreement_estimates_jaccard(similarity: float, words: int) -> None:
    rng = random.Random(words)
    pairs = [(text, near_copy(rng, text, similarity)) for text in (prose(rng, words) for _ in range(10))]
    exact = np.array([jaccard(*pair) for pair in pairs])
    estimated = np.array([agreement(*pair) for pair in pairs])
    assert abs(exact.mean() - similarity) < 0.025
    assert np.abs(estimated - exact).max() < 4 * np.sqrt(0.25 / 128)
    assert abs((estimated - exact).mean()) < 4 * np.sqrt(0.25 / 128 / len(pairs))  # no bias


@given(texts, st.integers(0, 2**40))
@settings(max_examples=60, deadline=None)
def test_a_signature_follows_from_its_text_alone(texts: list[str], seed: int) -> None:
    together = signatures(column(texts), 16, seed)
    alone = [signatures(column([text]), 16, seed)[0] for text in texts]
    assert np.array_equal(together, np.stack(alone))
    assert together.dtype == np.uint32 and together.shape == (len(texts), 16)


@pytest.mark.parametrize("text", ["", " ", "!!!", "four words are short", "红楼梦也"])
def test_texts_too_short_for_a_shingle_agree_with_exact_copies_only(text: str) -> None:
    assert agreement(text, text) == 1
    assert agreement(text, text + ".") < 0.2  # from five words on this would be 1
    assert agreement("five words " + text * 9, "five words " + text * 9 + ".") in (
        1,
        pytest.approx(0, abs=0.2),
    )


def test_case_spaces_and_punctuation_do_not_matter_from_five_words_on() -> None:
    assert agreement("Call me Ishmael. Some years ago", "call me  ishmael -- SOME years\nago") == 1
    assert agreement("红楼梦第一回", "红楼梦,第一回。") == 1


def test_repeated_shingles_count_once() -> None:
    text = "one two three four five " * 3
    assert agreement(text, text * 10) == 1


def test_many_texts_go_through_in_several_batches() -> None:
    rng = random.Random(1)
    many = [prose(rng, 8) for _ in range(1100)]
    rows = signatures(column(many), 32)
    assert len(np.unique(rows, axis=0)) == len(many)
    assert np.array_equal(rows[1050:], signatures(column(many[1050:]), 32))


def test_stored_signatures_stay_valid() -> None:
    """A change here means a new `algorithm()`: signatures in stores must be made again."""
    assert algorithm().startswith("1:rensa2:unicode")
    rows = signatures(
        column(["It was the best of times, it was the worst of times", "汉语没有空格", ""]), 4, 17
    )
    assert rows.tolist() == [
        [327596649, 163813796, 242498152, 322643748],
        [625785902, 1335400252, 6036909, 2379993002],
        [74969760, 3315429304, 1188237126, 2792026111],
    ]


def test_another_seed_gives_other_signatures() -> None:
    text = column(["It was the best of times, it was the worst of times"])
    assert not np.array_equal(signatures(text, seed=1), signatures(text, seed=2))


@given(st.floats(0.3, 1), st.integers(16, 512))
def test_bands_find_pairs_at_the_threshold_and_no_wider_ones_do(threshold: float, num_perm: int) -> None:
    bands = choose_bands(threshold, num_perm)
    assert bands.number * bands.rows <= num_perm
    wider = Bands(num_perm // (bands.rows + 1), bands.rows + 1)
    assert bands.found(threshold) >= 0.99 and wider.found(threshold) < 0.99


@pytest.mark.parametrize("threshold", [0, -0.5, 1.01])
def test_a_threshold_outside_its_range_is_refused(threshold: float) -> None:
    with pytest.raises(ValueError, match="above 0 and at most 1"):
        choose_bands(threshold, 128)
