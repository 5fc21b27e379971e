"""Overlap is found wherever a plain comparison of n-grams finds it."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from duplicate_texts import column, plain_ngrams, plain_words, prose
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenization.duplicates import overlap as module
from tokenization.duplicates.overlap import MOST_OWNERS, HashSet, NgramIndex, Overlap

texts = st.lists(st.lists(st.sampled_from(["a", "b", "汉", "é,"]), max_size=12).map(" ".join), max_size=6)


def pairs(overlap: Overlap) -> dict[tuple[int, int], tuple[int, float]]:
    columns = (overlap.text, overlap.guarded, overlap.ngrams, overlap.share)
    return {(t, g): (n, share) for t, g, n, share in zip(*(c.tolist() for c in columns), strict=True)}


def phrases(overlap: Overlap, looked_up: pa.Array) -> list[str]:
    """The first n-gram in common of each pair, as it stands in the text."""
    places = zip(overlap.text.tolist(), overlap.begins.tolist(), overlap.ends.tolist(), strict=True)
    return [looked_up[text].as_py()[begin:end] for text, begin, end in places]


@given(texts, texts, st.integers(1, 4))
@settings(max_examples=150, deadline=None)
def test_pairs_are_those_of_a_plain_comparison(guarded: list[str], looked_up: list[str], n: int) -> None:
    index = NgramIndex.build([column(guarded)], n, shortest=n)
    found = index.look_up(column(looked_up))
    expected = {}
    first = []
    for number, text in enumerate(looked_up):
        grams = plain_ngrams(text, n)
        for owner, other in enumerate(guarded):
            own = set(plain_ngrams(other, n))
            common = own & set(grams)
            if common:
                expected[number, owner] = (len(common), len(common) / len(own))
                first.append(next(gram for gram in grams if gram in common))
    assert pairs(found) == expected and list(pairs(found)) == sorted(expected)
    assert [tuple(plain_words(phrase)) for phrase in phrases(found, column(looked_up))] == first


@given(texts, st.integers(0, 6))
@settings(max_examples=40, deadline=None)
def test_an_index_built_in_any_columns_is_the_same(guarded: list[str], cut: int) -> None:
    whole = NgramIndex.build([column(guarded)], 3, shortest=2)
    parts = NgramIndex.build([column(guarded[:cut]), column(guarded[cut:])], 3, shortest=2)
    assert sorted(whole.postings) == sorted(parts.postings)
    for length, postings in whole.postings.items():
        other = parts.postings[length]
        assert np.array_equal(postings.members.hashes, other.members.hashes)
        assert np.array_equal(postings.owners, other.owners) and np.array_equal(
            postings.offsets, other.offsets
        )
    assert whole.ngrams.tolist() == parts.ngrams.tolist() and whole.too_short == parts.too_short


def test_a_text_s_pairs_do_not_depend_on_its_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(3)
    guarded = [prose(rng, 40) for _ in range(20)]
    looked_up = [" ".join([prose(rng, 10), *rng.sample(guarded, 2), prose(rng, 5)]) for _ in range(30)]
    index = NgramIndex.build([column(guarded)])
    whole = index.look_up(column(looked_up))
    assert len(whole) == 60
    monkeypatch.setattr(module, "PIECE_BYTES", 1500)
    chunked = pa.chunked_array([column(looked_up[:7]), column(looked_up[7:])])
    for cut in (index.look_up(column(looked_up)), index.look_up(chunked)):
        assert pairs(cut) == pairs(whole) and cut.begins.tolist() == whole.begins.tolist()


def test_a_planted_passage_is_found_and_shown_as_it_stands() -> None:
    rng = random.Random(2)
    questions = [prose(rng, 30) for _ in range(50)]
    passage = " ".join(questions[7].split()[4:18])
    page = f"{prose(rng, 500)}\n“{passage.upper().replace(' ', ' -- ')}” {prose(rng, 500)}"
    looked_up = column([prose(rng, 900), page, questions[0]])
    found = NgramIndex.build([column(questions)]).look_up(looked_up)
    assert pairs(found) == {(1, 7): (2, 2 / 18), (2, 0): (18, 1)}
    phrase = phrases(found, looked_up)[0]
    assert plain_words(phrase) == passage.split()[:13] and phrase.count(" -- ") == 12


def test_the_best_pair_is_that_of_the_largest_share_and_the_first_of_equals() -> None:
    rng = random.Random(4)
    long, short = prose(rng, 40), prose(rng, 20)
    index = NgramIndex.build([column([long, short, short])])
    found = index.look_up(column([f"{' '.join(long.split()[:20])} {short}", long]))
    best = found.best(found.text)
    assert list(zip(best.text.tolist(), best.guarded.tolist(), strict=True)) == [(0, 1), (1, 0)]
    assert best.share.tolist() == [1, 1]
    assert found.best(found.guarded).text.tolist() == [1, 0, 0]


def test_short_guarded_texts_count_as_one_ngram_and_shorter_ones_are_counted() -> None:
    index = NgramIndex.build(
        [column(["what is the capital of the old kingdom", "a phrase of six words only", ""])]
    )
    assert list(index.postings) == [8, 13]
    assert (index.num_texts, index.too_short) == (3, 2)
    looked_up = column(
        ["So: what is the capital of the old kingdom?", "what is the capital", "a phrase of six words only"]
    )
    found = index.look_up(looked_up)
    assert pairs(found) == {(0, 0): (1, 1)}
    assert phrases(found, looked_up) == ["what is the capital of the old kingdom"]


def test_a_common_ngram_is_put_down_to_its_first_owners_and_a_full_match_still_found() -> None:
    rng = random.Random(6)
    header = prose(rng, 20)
    guarded = [f"{header} {prose(rng, 20)}" for _ in range(MOST_OWNERS + 20)]
    index = NgramIndex.build([column(guarded)])
    last = len(guarded) - 1
    found = index.look_up(column([header, guarded[last]]))
    assert found.guarded[found.text == 0].tolist() == list(range(MOST_OWNERS))
    best = found.best(found.text)
    assert (best.text[1], best.guarded[1], best.ngrams[1]) == (1, last, 20), (
        "28 n-grams, 8 of the header alone"
    )


def test_a_smaller_index_keeps_a_part_that_the_hashes_choose_and_estimates_the_share() -> None:
    rng = random.Random(7)
    guarded = [prose(rng, 400) for _ in range(60)]
    columns = [column(guarded[:25]), column(guarded[25:])]
    index = NgramIndex.build(columns, most=8000)
    again = NgramIndex.build([column([text]) for text in guarded], most=8000)
    assert index.part == again.part == 1 / 4
    assert 4000 < len(index.postings[13].owners) <= 8000
    assert np.array_equal(index.postings[13].members.hashes, again.postings[13].members.hashes)
    half = [" ".join(text.split()[:206]) for text in guarded]
    found = index.look_up(column(half))
    assert found.text.tolist() == found.guarded.tolist() == list(range(60))
    assert abs(found.share.mean() - 0.5) < 0.03


def test_an_index_is_the_same_from_its_files(tmp_path: Path) -> None:
    rng = random.Random(8)
    guarded = [prose(rng, words) for words in (5, 9, 30, 100)]
    index = NgramIndex.build([column(guarded)])
    index.save(tmp_path)
    loaded = NgramIndex.load(tmp_path)
    looked_up = column([" ".join(guarded), prose(rng, 50)])
    assert pairs(loaded.look_up(looked_up)) == pairs(index.look_up(looked_up))
    assert len(pairs(index.look_up(looked_up))) == 3
    assert (loaded.n, loaded.part, loaded.num_texts, loaded.too_short) == (13, 1, 4, 1)


def test_the_leading_bits_never_hide_a_member() -> None:
    rng = np.random.default_rng(1)
    for size in (0, 1, 7, 5000):
        hashes = np.unique(rng.integers(0, 2**64, size, dtype=np.uint64))
        members = HashSet.of(hashes)
        others = rng.integers(0, 2**64, 5000, dtype=np.uint64)
        places, at = members.find(np.concatenate([others, hashes]))
        assert places.tolist() == list(range(5000, 5000 + size)) and at.tolist() == list(range(size))


def test_an_empty_index_finds_nothing_and_impossible_lengths_are_refused() -> None:
    looked_up = column([prose(random.Random(0), 50), None, ""])
    assert not len(NgramIndex.build([]).look_up(looked_up))
    assert not len(NgramIndex.build([column(["too short"])]).look_up(looked_up))
    with pytest.raises(ValueError, match="at least one word"):
        NgramIndex.build([], n=0)


@pytest.mark.shared
def test_print_chapters_overlap_with_the_online_book_and_not_with_another_language(shared: Path) -> None:
    folder = shared / "data" / "raw" / "md"
    book, printed, chinese = (
        column([path.read_text("utf-8") for path in sorted((folder / name).glob("*.md"))])
        for name in ("rust-book", "rust-book-nostarch", "trpl-zh-cn")
    )
    assert len(printed) > 20 and len(chinese) > 100

    def held(looked_up: pa.Array) -> float:
        """The median, over the online chapters, of the largest part that one of these texts holds."""
        index = NgramIndex.build([book])
        found = index.look_up(looked_up)
        best = found.best(found.guarded)
        shares = np.zeros(index.num_texts)
        shares[best.guarded] = best.share
        return float(np.median(shares))

    assert held(printed) > 0.5 and held(chinese) < 0.3
