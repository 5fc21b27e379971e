"""What best fit leaves in windows that are not full, packed again."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tokenization.windows import best_fit
from tokenization.windows.packing import pack_best_fit
from tokenization.windows.refit import refit

thorough = settings(max_examples=200, deadline=None)


def sharegpt_like(number: int, window: int) -> NDArray[np.int64]:
    """Lengths whose best fit leaves a few tokens in every tenth window, and few short enough to go there."""
    drawn = np.random.default_rng(1).lognormal(np.log(1100), 0.9, number)
    return np.clip(drawn, 20, window).astype(np.int64)


@thorough
@given(count=st.dictionaries(st.integers(1, 50), st.integers(1, 30), max_size=40), spare=st.integers(0, 60))
def test_every_sequence_stands_in_one_pattern_and_no_pattern_is_above_the_window(
    count: dict[int, int], spare: int
) -> None:
    window = max(count, default=1) + spare
    lengths = sorted(count)
    counts = np.array([count[length] for length in lengths], np.int64)
    patterns = refit(np.array(lengths, np.int64), counts, window)
    held: Counter[int] = Counter()
    for pattern in patterns:
        assert pattern.windows >= 1
        assert list(pattern.copies) == sorted(pattern.copies, reverse=True)
        assert sum(length * copies for length, copies in pattern.copies.items()) <= window
        held.update({length: copies * pattern.windows for length, copies in pattern.copies.items()})
    assert held == Counter(count)


def test_a_rest_goes_to_the_most_even_pair_that_fills_it() -> None:
    # 7 leaves 3: one 3. 5 leaves 5 then: 3 and 2, for of 4 and 1 there is no 1.
    patterns = refit(np.array([2, 3, 4, 5, 7]), np.array([1, 2, 2, 1, 1]), 10)
    assert [(each.windows, each.copies) for each in patterns] == [
        (1, {7: 1, 3: 1}),
        (1, {5: 1, 3: 1, 2: 1}),
        (1, {4: 2}),
    ]


def test_windows_come_within_a_fiftieth_of_a_percent_where_best_fit_alone_does_not() -> None:
    window, lengths = 4096, sharegpt_like(200_000, 4096)
    plan = pack_best_fit(lengths, window, overlong="error")
    least = -(-int(lengths.sum()) // window)
    assert plan.num_windows <= least * 1.0002
    distinct, count = best_fit._histogram(lengths)
    runs, _ = best_fit._place(distinct, count, window)
    assert max(run.first + run.size for run in runs) > least * 1.0002, "best fit alone would have done"


def test_what_is_packed_again_stands_as_all_else_does() -> None:
    lengths = sharegpt_like(50_000, 4096)
    plan = pack_best_fit(lengths, 4096, overlong="error")
    assert np.array_equal(np.sort(plan.sequence), np.arange(len(lengths)))
    assert np.array_equal(plan.length, lengths[plan.sequence])
    within = np.ones(len(plan.sequence), bool)
    within[plan.offsets[:-1]] = False  # a window's first segment follows no other
    follows = np.flatnonzero(within)
    longer = plan.length[follows - 1] > plan.length[follows]
    alike = plan.length[follows - 1] == plan.length[follows]
    assert (longer | alike).all(), "longest first in each window"
    assert (plan.sequence[follows - 1] < plan.sequence[follows])[alike].all(), "equal lengths as they came"
    again = pack_best_fit(lengths, 4096, overlong="error")
    assert np.array_equal(again.sequence, plan.sequence)
