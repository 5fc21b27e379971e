"""Packing held against what public test suites expect of theirs, restated here as facts.

Where ours differs on purpose: nothing is truncated in packing (TRL's "truncate"); what is too long is split
or refused, for a lost tail has to be somebody's declared choice.
"""

from __future__ import annotations

from itertools import pairwise

import pytest

from tokenization.errors import RecipeError
from tokenization.windows.packing import WindowPlan, pack_best_fit, pack_concat

Windows = list[list[int]]

# huggingface/trl tests/test_data_utils.py: (window, sequences, windows, segment lengths)
BEST_FIT: list[tuple[int, Windows, Windows, Windows]] = [
    (4, [[1, 2, 3], [4, 5, 6, 7], [8]], [[4, 5, 6, 7], [1, 2, 3, 8]], [[4], [3, 1]]),
    (
        4,
        [[1, 2, 3, 4, 5], [6, 7], [8, 9, 10, 11], [12]],
        [[1, 2, 3, 4], [8, 9, 10, 11], [6, 7, 5, 12]],
        [[4], [4], [2, 1, 1]],
    ),
    (
        5,
        [[1, 2, 3, 4, 5], [6], [7, 8, 9, 10], [11, 12, 13]],
        [[1, 2, 3, 4, 5], [7, 8, 9, 10, 6], [11, 12, 13]],
        [[5], [4, 1], [3]],
    ),
    (4, [[1, 2], [], [3, 4, 5], [], [6]], [[3, 4, 5, 6], [1, 2]], [[3, 1], [2]]),
]


def gathered(plan: WindowPlan, sequences: Windows) -> tuple[Windows, Windows]:
    """(tokens of each window, segment lengths of each window)"""
    windows: Windows = []
    lengths: Windows = []
    for begin, end in pairwise(plan.offsets):
        windows.append([])
        lengths.append([])
        for j in range(begin, end):
            start, length = int(plan.start[j]), int(plan.length[j])
            windows[-1] += sequences[plan.sequence[j]][start : start + length]
            lengths[-1].append(length)
    return windows, lengths


@pytest.mark.parametrize(("window", "sequences", "windows", "seq_lens"), BEST_FIT)
def test_best_fit_gives_the_windows_that_trl_expects(
    window: int, sequences: Windows, windows: Windows, seq_lens: Windows
) -> None:
    plan = pack_best_fit([len(s) for s in sequences], window, overlong="split")
    assert gathered(plan, sequences) == (windows, seq_lens)


def test_what_trl_truncates_is_refused_here() -> None:
    with pytest.raises(RecipeError, match="sequence 0 has 5 tokens, above window=4"):
        pack_best_fit([5, 2, 4, 1], 4, overlong="error")


def test_concat_keeps_the_remainder_as_trl_does() -> None:
    sequences = [[1, 2, 3], [4, 5, 6, 7], [8]]
    windows, _ = gathered(pack_concat([3, 4, 1], 3), sequences)
    assert windows == [[1, 2, 3], [4, 5, 6], [7, 8]]


def test_best_fit_needs_as_many_windows_as_olmo_core() -> None:
    # allenai/OLMo-core src/test/data/utils_test.py; which of equal windows is taken is left open
    assert pack_best_fit([8, 6, 6, 4, 3, 2, 3], 8, overlong="error").num_windows == 5


def test_documents_with_their_ends_are_packed_as_olmo_core_packs_them() -> None:
    # the same file: 27 tokens, documents of 8, 6, 6, 4 and 3 tokens, each with its end token
    plan = pack_best_fit([8, 6, 6, 4, 3], 8, overlong="split")
    assert [plan.take([w]).sequence.tolist() for w in range(plan.num_windows)] == [[0], [1], [2], [3, 4]]
