"""Sequences of windows that did not come out full, packed again: exact sums first.

Best fit leaves its waste in many windows, a few tokens in each, where no sequence is short enough to go. Taken apart,
most of those sequences add up to whole windows in other ways. So windows are filled one pattern at a time: the longest
that are left, as long as two more of that length would fit, then the one or the two that fill the rest best. Of pairs
that do so equally well the most even one is taken, so that short sequences stay for the rests that need them. A pattern
is repeated while there are sequences for it.

    left 7, 5, 4, 4, 3, 3, 2 (window 10)       7 3 │ 5, then of 4 and 1, 3 and 2 the pair that is there: 5 3 2 │ 4 4

Guarantees: every sequence stands in one pattern, so often as it is repeated; no pattern is above the window; the same
counts give the same patterns. Price: some 50 to 150 µs a pattern, of which there are fewer than distinct lengths and
sequences; 0.1 s for ten million ShareGPT-like lengths, whose windows then are 0.005 % above the lower bound, not 0.029.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import NamedTuple

import numpy as np

from tokenization.sequences import IntArray

MOST_LENGTHS = 8192  # distinct ones: with more, finding pairs would take seconds


class Pattern(NamedTuple):
    """Windows that are alike."""

    windows: int
    copies: dict[int, int]  # length → how many of it each of the windows holds; longest first


class _Left:
    """Sequences that no pattern holds yet, by length."""

    def __init__(self, distinct: IntArray, count: IntArray) -> None:
        self.lengths = distinct.tolist()  # ascending, none of which is used up
        self.count = dict(zip(self.lengths, count.tolist(), strict=True))

    def below(self, length: int) -> int:
        """The longest that is shorter, 0 where there is none."""
        at = bisect_left(self.lengths, length)
        return int(self.lengths[at - 1]) if at else 0

    def take(self, pattern: Pattern) -> None:
        for length, copies in pattern.copies.items():
            self.count[length] -= copies * pattern.windows
            if not self.count[length]:
                del self.lengths[bisect_left(self.lengths, length)]


def refit(distinct: IntArray, count: IntArray, window: int) -> list[Pattern]:
    """Patterns that together hold so many sequences of each length; `distinct` ascending, from 1 to `window`."""
    left = _Left(distinct, count)
    patterns = []
    while left.lengths:
        copies = _longest_first(left, window)
        space = window - sum(length * number for length, number in copies.items())
        for length in _best_rest(left, copies, space):
            copies[length] = copies.get(length, 0) + 1
        windows = min(left.count[length] // number for length, number in copies.items())
        patterns.append(Pattern(windows, dict(sorted(copies.items(), reverse=True))))
        left.take(patterns[-1])
    return patterns


def _longest_first(left: _Left, window: int) -> dict[int, int]:
    """The longest there are, until less than two of the next would fit."""
    copies: dict[int, int] = {}
    space, length = window, int(left.lengths[-1])
    while length and (not copies or space >= 2 * length):
        copies[length] = min(left.count[length], max(1, space // length - 1))
        space -= copies[length] * length
        if copies[length] == left.count[length]:
            length = left.below(length)
        elif space < 2 * length:
            break
    return copies


def _best_rest(left: _Left, copies: dict[int, int], space: int) -> list[int]:
    """The one or two lengths that leave least of the space, the most even pair of those that leave as little."""
    fitting = left.lengths[: bisect_left(left.lengths, space + 1)]
    there = np.array([each for each in fitting if left.count[each] > copies.get(each, 0)], np.int64)
    if not len(there):
        return []
    if there[-1] == space:
        return [space]
    at = np.searchsorted(there, space - there, side="right") - 1  # the longest that goes beside each
    beside = np.where(at >= 0, there[at], 0)
    single = np.array([left.count[each] - copies.get(each, 0) < 2 for each in there.tolist()])
    beside[(beside == there) & single] = 0
    waste = space - there - beside
    best = np.flatnonzero(waste == waste.min())
    first = best[np.argmin(np.abs(2 * there[best] - space))]
    return [int(each) for each in (there[first], beside[first]) if each]
