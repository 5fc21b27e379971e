"""The mask that ranges of tokens ask for is theirs, one behind the other or across each other."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tokenization.build.proof_tokens import mask_of

RANGE = st.tuples(st.integers(0, 20), st.integers(0, 20)).map(lambda pair: (min(pair), max(pair)))
RANGES = st.lists(RANGE, max_size=5)


@given(RANGES, RANGES, st.lists(st.integers(0, 19), max_size=3))
def test_a_mask_is_what_its_ranges_hold_without_what_is_hidden_and_the_first_tokens(
    ranges: list[tuple[int, int]], hidden: list[tuple[int, int]], firsts: list[int]
) -> None:
    def edges(pairs: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
        both = np.array(pairs, np.int64).reshape(-1, 2)
        return both[:, 0], both[:, 1]

    for own in (ranges, sorted(ranges)):
        made = mask_of(20, *edges(own), np.array(firsts, np.int64), edges(hidden))
        due = {place for a, b in own for place in range(a, b)}
        due -= {place for a, b in hidden for place in range(a, b)} | set(firsts)
        assert np.flatnonzero(made).tolist() == sorted(due)
