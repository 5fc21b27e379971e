"""What stands in which window: the plan that packing makes and the writer of windows follows.

A plan is four small arrays. Segment j is `length[j]` tokens of sequence `sequence[j]`, beginning `start[j]`
tokens after that sequence's beginning; window w holds segments `offsets[w]:offsets[w + 1]`, in this order,
from its first token on. What a window lacks after its last segment is padding.

Guarantees: no window is empty and none is longer than `window`. (That each token is placed once is the
packer's promise.) Price: 28 bytes a segment and 8 a window; `take` is one gather.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tokenization.sequences import IntArray, offsets_of

MAX_WINDOW = int(np.iinfo(np.int32).max)  # segment lengths are int32


@dataclass(frozen=True)
class WindowPlan:
    """Windows as segments of sequences; see the module's docstring for how the arrays are read."""

    sequence: IntArray  # int64 [num_segments]  index into the lengths that were packed
    start: IntArray  # int64 [num_segments]  tokens from the sequence's beginning
    length: NDArray[np.int32]  # int32 [num_segments]  tokens, at least 1
    offsets: IntArray  # int64 [num_windows + 1]  window w holds segments offsets[w]:offsets[w + 1]
    window: int  # tokens that fit in one window
    padded: bool = True  # False: rows of their own lengths, nothing fills them up to `window`

    def __post_init__(self) -> None:
        if not len(self.sequence) == len(self.start) == len(self.length):
            raise ValueError(
                f"segments disagree: {len(self.sequence)} sequences, {len(self.start)} starts, "
                f"{len(self.length)} lengths"
            )
        if len(self.offsets) < 1 or self.offsets[0] != 0 or self.offsets[-1] != len(self.sequence):
            raise ValueError("offsets must start at 0 and end at the number of segments")
        if bool((self.offsets[1:] <= self.offsets[:-1]).any()):
            raise ValueError("a window without a segment")
        if len(self.length) and int(self.length.min()) < 1:
            raise ValueError("a segment without a token")
        fullest = int(self.tokens_per_window.max(initial=0))
        if fullest > self.window:
            raise ValueError(f"a window holds {fullest:,} tokens, above {self.window:,}")

    def __len__(self) -> int:
        return self.num_windows

    @property
    def num_windows(self) -> int:
        """How many windows there are."""
        return len(self.offsets) - 1

    @property
    def num_segments(self) -> int:
        """How many segments there are in all windows."""
        return len(self.sequence)

    @property
    def segments_per_window(self) -> IntArray:
        """Segments in each window, padding not counted: int64 [num_windows]."""
        return np.diff(self.offsets)

    @property
    def tokens_per_window(self) -> IntArray:
        """Tokens in each window, without padding: int64 [num_windows]."""
        return sum_per_window(self, self.length)

    @property
    def num_tokens(self) -> int:
        """Tokens in all windows, without padding."""
        return int(self.length.sum(dtype=np.int64))

    @property
    def num_pad_tokens(self) -> int:
        """Padding in all windows; 0 for rows, which keep their own lengths."""
        return self.num_windows * self.window - self.num_tokens if self.padded else 0

    @property
    def fill(self) -> float:
        """Tokens over tokens and padding; 1.0 where there is nothing to fill."""
        held = self.num_tokens + self.num_pad_tokens
        return self.num_tokens / held if held else 1.0

    def take(self, window_indices: ArrayLike) -> WindowPlan:
        """These windows in this order, repeats allowed."""
        chosen = _indices(window_indices)
        counts = self.segments_per_window[chosen]
        segments = ranges(self.offsets[:-1][chosen], counts)
        return WindowPlan(
            sequence=self.sequence[segments],
            start=self.start[segments],
            length=self.length[segments],
            offsets=offsets_of(counts),
            window=self.window,
            padded=self.padded,
        )


def sum_per_window(plan: WindowPlan, values: NDArray[np.integer[Any]]) -> IntArray:
    """The sum of one value a segment over each window: int64 [num_windows]."""
    if plan.num_windows == 0:  # reduceat needs at least one window, and no empty one: a plan has none
        return np.zeros(0, np.int64)
    sums: IntArray = np.add.reduceat(values, plan.offsets[:-1], dtype=np.int64)
    return sums


def ranges(starts: IntArray, counts: IntArray) -> IntArray:
    """`starts[i], starts[i] + 1, …` (`counts[i]` of them), for one i after another: int64 [sum of counts]."""
    offsets = offsets_of(counts)
    numbers = np.arange(offsets[-1], dtype=np.int64)
    numbers += np.repeat(starts - offsets[:-1], counts)
    return numbers


def checked_lengths(lengths: ArrayLike) -> IntArray:
    """Lengths as int64 [num_sequences], refused where they are not whole numbers from 0 on."""
    array = np.asarray(lengths)
    if array.ndim != 1 or (array.size and not np.issubdtype(array.dtype, np.integer)):
        raise ValueError(f"lengths must be one row of integers, not {array.dtype} of shape {array.shape}")
    checked = array.astype(np.int64, copy=False)
    if checked.size and int(checked.min()) < 0:
        raise ValueError(f"sequence {int(checked.argmin())} has the length {int(checked.min())}")
    return checked


def checked_window(window: int) -> int:
    """A window that segments of int32 lengths can fill."""
    if not 1 <= window <= MAX_WINDOW:
        raise ValueError(f"a window has 1 to {MAX_WINDOW:,} tokens, not {window:,}")
    return int(window)


def _indices(window_indices: ArrayLike) -> IntArray:
    array = np.asarray(window_indices)
    if array.ndim != 1 or (array.size and not np.issubdtype(array.dtype, np.integer)):
        raise ValueError(f"windows are taken by number, not by {array.dtype} of shape {array.shape}")
    return array.astype(np.int64, copy=False)
