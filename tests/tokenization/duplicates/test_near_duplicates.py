"""Near duplicates are what comparing every pair would find, whoever asks and however the texts are cut."""

from __future__ import annotations

import json
import random
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from duplicate_texts import column, jaccard, near_copy, prose
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tokenization.duplicates import near as near_module
from tokenization.duplicates.bands import choose_bands
from tokenization.duplicates.components import Components
from tokenization.duplicates.near import NearDuplicates, buckets, cluster
from tokenization.duplicates.signatures import signatures


def found(texts: list[str], threshold: float = 0.8, num_perm: int = 128) -> NearDuplicates:
    return cluster([signatures(column(texts), num_perm)], threshold)


def first_of_each(pairs: list[tuple[int, int]], number: int) -> list[int]:
    """The first of each one's component, one pair after another."""
    first = list(range(number))
    for _ in range(number):
        for one, other in pairs:
            first[one] = first[other] = min(first[one], first[other])
    return first


# --- union-find


@given(st.integers(1, 30), st.data())
@settings(max_examples=150, deadline=None)
def test_components_are_those_of_a_plain_closure_in_any_order_of_pairs(
    number: int, data: st.DataObject
) -> None:
    item = st.integers(0, number - 1)
    pairs = data.draw(st.lists(st.tuples(item, item), max_size=40))
    mixed = data.draw(st.permutations(pairs))
    cut = data.draw(st.integers(0, len(pairs)))
    components = Components(number)
    for some in (mixed[:cut], mixed[cut:]):
        left, right = np.array(some, np.int64).reshape(-1, 2).T
        components.unite(left, right)
    assert components.all_roots().tolist() == first_of_each(pairs, number)


def test_a_long_chain_is_one_component() -> None:
    components = Components(50_000)
    order = np.random.default_rng(0).permutation(49_999)
    components.unite(order, order + 1)
    assert not components.all_roots().any()


# --- against every pair


@pytest.mark.parametrize("seed", range(6))
def test_clusters_lie_between_two_plain_truths(seed: int) -> None:
    """With every pair compared exactly, a margin of four standard deviations either side of the threshold."""
    rng = random.Random(seed)
    texts = [prose(rng, rng.randint(20, 80)) for _ in range(12)]
    for _ in range(30):
        texts.append(near_copy(rng, rng.choice(texts), rng.choice([0.2, 0.4, 0.6, 0.75, 0.85, 0.95, 1])))
    exact = {(i, j): jaccard(texts[i], texts[j]) for i, j in combinations(range(len(texts)), 2)}
    margin = 4 * np.sqrt(0.7 * 0.3 / 512)
    near = found(texts, 0.7, num_perm=512)
    strict = first_of_each([pair for pair, j in exact.items() if j >= 0.7 + margin], len(texts))
    loose = first_of_each([pair for pair, j in exact.items() if j >= 0.7 - margin], len(texts))
    together = {(i, j) for i, j in exact if near.first[i] == near.first[j]}
    assert {(i, j) for i, j in exact if strict[i] == strict[j]} <= together
    assert together <= {(i, j) for i, j in exact if loose[i] == loose[j]}
    assert 5 < len(together) < len(exact) // 2


def brute_force(rows: NDArray[np.uint32], threshold: float) -> list[int]:
    needed = threshold * rows.shape[1] - 1e-9
    pairs = combinations(range(len(rows)), 2)
    return first_of_each([(i, j) for i, j in pairs if (rows[i] == rows[j]).sum() >= needed], len(rows))


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_with_bands_of_one_place_every_pair_of_signatures_is_found(data: st.DataObject) -> None:
    """A threshold this low gives such bands: nothing is left to chance, so the truth is met exactly."""
    number = data.draw(st.integers(1, 25))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    rows = rng.integers(0, data.draw(st.integers(2, 30)), (number, 12)).astype(np.uint32)
    near = cluster([rows], 0.3)
    assert near.bands.rows == 1
    assert near.first.tolist() == brute_force(rows, 0.3)


# --- planted


@pytest.mark.parametrize("words", [60, 600])
def test_planted_copies_are_found_and_strangers_are_not(words: int) -> None:
    rng = random.Random(words)
    originals = [prose(rng, words) for _ in range(40)]
    for similarity, least, most in ((1, 40, 40), (0.9, 40, 40), (0.3, 0, 0)):
        copies = [near_copy(rng, text, similarity) for text in originals]
        near = found(originals + copies)
        assert near.kept[:40].all()
        assert least <= (near.first[40:] == np.arange(40)).sum() <= most
    at_the_edge = found(originals + [near_copy(rng, text, 0.86) for text in originals])
    assert (at_the_edge.first[40:] == np.arange(40)).sum() >= 35


def test_the_first_stays_and_chains_hang_together() -> None:
    rng = random.Random(5)
    first = prose(rng, 200)
    second = near_copy(rng, first, 0.88)
    third = " ".join([prose(rng, 12), *second.split()[12:]])
    near = found([prose(rng, 200), first, prose(rng, 9), second, third])
    assert jaccard(first, third) < 0.8 <= min(jaccard(first, second), jaccard(second, third))
    assert near.first.tolist() == [0, 1, 2, 1, 1]
    assert near.similarity[4] < 0.8 <= near.similarity[3] < near.similarity[0] == 1
    members, begins = near.clusters()
    assert members.tolist() == [1, 3, 4] and begins.tolist() == [0, 3]


def test_texts_too_short_for_a_shingle_have_exact_copies_only() -> None:
    near = found(["", "two words", " ", "two  words", "", "two words", "Two words"])
    assert near.first.tolist() == [0, 1, 2, 3, 0, 1, 6]


# --- invariants

alphabet = st.sampled_from(["one", "two", "three", "four", "five", "six", "seven", "eight"])
some_texts = st.lists(st.lists(alphabet, max_size=12).map(" ".join), max_size=12)


@given(some_texts, st.data())
@settings(max_examples=60, deadline=None)
def test_another_order_changes_who_stays_but_not_who_belongs_together(
    texts: list[str], data: st.DataObject
) -> None:
    order = data.draw(st.permutations(range(len(texts))))
    near, other = found(texts), found([texts[at] for at in order])
    before = {frozenset(np.flatnonzero(near.first == root).tolist()) for root in near.first}
    after = {frozenset(order[at] for at in np.flatnonzero(other.first == root)) for root in other.first}
    assert before == after
    assert all(first == min(np.flatnonzero(near.first == first)) for first in near.first)


@given(some_texts)
@settings(max_examples=60, deadline=None)
def test_equal_texts_are_always_found_and_disjoint_ones_never(texts: list[str]) -> None:
    strangers = [f"{at}a {at}b {at}c {at}d {at}e {at}f" for at in range(5)]
    near = found(texts + strangers + texts)
    assert np.array_equal(near.first[len(texts) + 5 :], near.first[: len(texts)])
    assert near.kept[len(texts) : len(texts) + 5].all()


@given(some_texts, st.data())
@settings(max_examples=40, deadline=None)
def test_any_cut_into_chunks_and_the_scratch_file_give_the_same(
    texts: list[str], data: st.DataObject
) -> None:
    rows = signatures(column(texts), 64)
    cut = data.draw(st.integers(0, len(rows)))
    whole = cluster([rows], 0.7)
    for parts, memory in ([[rows[:cut], rows[cut:]], 1 << 30], [[rows[:cut], rows[cut:]], 1], [[rows], 3000]):
        other = cluster(iter(parts), 0.7, memory=memory)
        assert np.array_equal(whole.first, other.first)
        assert np.array_equal(whole.similarity, other.similarity)
        assert whole.pairs_compared == other.pairs_compared


def test_the_scratch_file_goes_away_and_a_broken_chunk_leaves_nothing(tmp_path: Path) -> None:
    rows = signatures(column(["a b c d e f"] * 9), 8)
    assert cluster([rows], 0.8, memory=1, scratch=tmp_path).kept.sum() == 1
    with pytest.raises(ValueError, match="of 8 and of 4 places"):
        cluster([rows, rows[:, :4]], 0.8, memory=1, scratch=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_text_that_is_not_eligible_is_left_alone() -> None:
    texts = ["a b c d e f"] * 4
    eligible = np.array([False, True, True, False])
    near = cluster([signatures(column(texts))], 0.8, eligible=eligible)
    assert near.first.tolist() == [0, 1, 1, 3]


def test_no_texts_at_all_are_no_clusters() -> None:
    for chunks in ([], [signatures(column([]))]):
        near = cluster(chunks, 0.8)
        assert len(near.first) == 0 and near.clusters()[1].tolist() == [0]


@pytest.mark.parametrize("reach", [1, 4, 60])
def test_a_bucket_too_large_for_all_pairs_is_counted(reach: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixty signatures that agree in the first band and nowhere else."""
    monkeypatch.setattr(near_module, "ALL_PAIRS", reach)
    rows = np.random.default_rng(0).integers(0, 2**32, (60, 32), dtype=np.uint32)
    rows[:, : choose_bands(0.8, 32).rows] = 7
    near = cluster([rows], 0.8)
    assert near.kept.all()
    pairs = near.pairs_compared + near.pairs_skipped
    assert pairs == 60 * 59 // 2
    assert (near.pairs_skipped == 0) == (reach == 60)


def test_buckets_hold_each_shared_hash_once_in_order() -> None:
    hashes = np.array([5, 9, 5, 1, 9, 5, 2], np.uint64)
    members, begins = buckets(hashes, np.arange(7))
    assert members.tolist() == [0, 2, 5, 1, 4] and begins.tolist() == [0, 3, 5]
    members, begins = buckets(hashes, np.array([0, 3, 4, 5]))
    assert members.tolist() == [0, 5] and begins.tolist() == [0, 2]


# --- real texts


@pytest.mark.shared
def test_copies_among_real_documents_are_found(shared: Path) -> None:
    """PEPs beside exact copies, copies with blank lines doubled and copies without their last paragraph."""
    lines = (shared / "data" / "raw" / "dirt" / "dups-and-empties.jsonl").read_text("utf-8").splitlines()
    rows = [row for row in map(json.loads, lines) if row["text"] and row["text"].strip()]
    place = {row["id"]: at for at, row in enumerate(rows)}
    texts = [row["text"] for row in rows]
    near = found(texts)
    looked_at = 0
    for name, at in place.items():
        original, _, kind = name.rpartition("-")
        if kind not in ("copy", "ws", "cut") or original not in place:
            continue
        exact = jaccard(texts[at], texts[place[original]])
        looked_at += 1
        assert kind == "cut" or exact == 1
        if exact > 0.9:
            assert near.first[at] == near.first[place[original]]
    assert looked_at > 50
    assert near.kept.sum() > 100


@pytest.mark.shared
def test_two_editions_of_a_chinese_novel_in_two_encodings_are_near_duplicates(shared: Path) -> None:
    raw = shared / "data" / "raw"
    novels = [
        (raw / "txt-zh" / "honglou-meng.txt").read_text("utf-8")[:100_000],
        (raw / "dirt" / "honglou-meng.gbk.txt").read_text("gb18030")[:100_000],
        (raw / "txt-zh" / "xiyou-ji.txt").read_text("utf-8")[:100_000],
    ]
    exact = jaccard(novels[0], novels[1])
    near = found(novels, threshold=exact - 0.15)
    assert near.first.tolist() == [0, 0, 2]
    assert abs(near.similarity[1] - exact) < 0.15
