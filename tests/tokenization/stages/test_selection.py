"""What crosses sources is decided on hashes alone: duplicates and the validation split."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenization.stages.selection import first_occurrence, hash_words, in_validation, splitmix

words = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=60)


def random_hashes(count: int) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 2**64, (count, 2), np.uint64)


@given(words)
def test_the_first_of_equals_is_named_for_each(pairs: list[tuple[int, int]]) -> None:
    hashes = np.array(pairs, np.uint64).reshape(-1, 2)
    seen: dict[tuple[int, int], int] = {}
    expected = [seen.setdefault(pair, number) for number, pair in enumerate(pairs)]
    assert first_occurrence(hashes).tolist() == expected


@pytest.mark.parametrize("fraction", [0.01, 0.1, 0.5, 1.0])
def test_about_the_asked_fraction_is_held_back(fraction: float) -> None:
    held = in_validation(random_hashes(100_000), fraction, 17)
    assert abs(held.mean() - fraction) < 4 * np.sqrt(fraction * (1 - fraction) / 100_000) + 1e-9


def test_no_fraction_holds_nothing_back() -> None:
    assert not in_validation(random_hashes(1000), 0.0, 17).any()


def test_a_larger_fraction_keeps_what_a_smaller_one_held_back() -> None:
    hashes = random_hashes(10_000)
    small, large = in_validation(hashes, 0.05, 1), in_validation(hashes, 0.2, 1)
    assert small.any() and (large | ~small).all()


def test_the_split_of_an_item_depends_on_its_content_and_the_seed_alone() -> None:
    hashes = random_hashes(5000)
    held = in_validation(hashes, 0.3, 5)
    order = np.random.default_rng(0).permutation(5000)
    assert (in_validation(hashes[order], 0.3, 5) == held[order]).all()
    other = in_validation(hashes, 0.3, 6)
    assert 0.35 < (other != held).mean() < 0.49  # independent draws differ in 2 * 0.3 * 0.7


def test_the_mixer_is_splitmix64() -> None:
    """The reference generator's first outputs from state 0."""
    states = np.array([0, 0x9E3779B97F4A7C15], np.uint64)
    assert [hex(value) for value in splitmix(states).tolist()] == ["0xe220a8397b1dcdaf", "0x6e789e6aa1b965f4"]


def test_hashes_are_read_as_they_lie_also_from_a_slice() -> None:
    values = [bytes([n]) * 16 for n in range(6)]
    column = pa.chunked_array([pa.array(values, pa.binary(16))]).slice(2, 3)
    assert hash_words(column).tobytes() == b"".join(values[2:5])
    assert hash_words(pa.chunked_array([], pa.binary(16))).shape == (0, 2)
