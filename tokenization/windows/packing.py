"""The door to packing: lengths in, a plan of windows out, and what follows from a plan.

    pack_concat     end to end, cut every window      pretraining text
    pack_best_fit   whole sequences, little padding   chats; text where documents should stay whole
    pack_rows       one sequence a row, no padding    batches by a budget of tokens

The home of two conventions: padding is what a window lacks after its last segment, at its end and nowhere
else, and is a segment of its own in the window's lengths; and the first token of a segment is never a target,
because nothing in the segment predicts it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from tokenization.sequences import IntArray
from tokenization.windows.best_fit import pack_best_fit
from tokenization.windows.concat import pack_concat
from tokenization.windows.ordering import shuffled_within
from tokenization.windows.plan import MAX_WINDOW, WindowPlan, checked_lengths, sum_per_window

__all__ = [
    "WindowPlan",
    "pack_best_fit",
    "pack_concat",
    "pack_rows",
    "pretrain_targets",
    "sft_targets",
    "shuffle_segments",
]

_SHUFFLE_STREAM = 1  # keeps these draws apart from the mixture's, which come from [seed, epoch]


def pack_rows(lengths: ArrayLike) -> WindowPlan:
    """One sequence a row, in order, as long as it is; `window` is the longest. Empty ones are skipped."""
    whole = checked_lengths(lengths)
    longest = int(whole.max(initial=0))
    if longest > MAX_WINDOW:
        raise ValueError(f"sequence {int(whole.argmax())} has {longest:,} tokens, above {MAX_WINDOW:,}")
    kept = np.flatnonzero(whole)
    return WindowPlan(
        sequence=kept,
        start=np.zeros_like(kept),
        length=whole[kept].astype(np.int32),
        offsets=np.arange(len(kept) + 1, dtype=np.int64),
        window=longest,
        padded=False,
    )


def shuffle_segments(plan: WindowPlan, seed: int, epoch: int = 0) -> WindowPlan:
    """The same windows, each with its segments in a seeded order instead of longest first."""
    order = shuffled_within(plan.offsets, np.random.default_rng([seed, epoch, _SHUFFLE_STREAM]))
    return WindowPlan(
        sequence=plan.sequence[order],
        start=plan.start[order],
        length=plan.length[order],
        offsets=plan.offsets,
        window=plan.window,
        padded=plan.padded,
    )


def pretrain_targets(plan: WindowPlan) -> IntArray:
    """Targets in each window of text, every token but the first of its segment: int64 [num_windows]."""
    return plan.tokens_per_window - plan.segments_per_window


def sft_targets(plan: WindowPlan, targets_per_sequence: ArrayLike) -> IntArray:
    """Targets in each window of whole sequences, given those of each sequence: int64 [num_windows]."""
    if plan.num_segments and int(plan.start.max()) > 0:
        cut = int(plan.sequence[plan.start.argmax()])
        raise ValueError(f"sequence {cut} is cut in this plan: its targets cannot be counted whole")
    return sum_per_window(plan, checked_lengths(targets_per_sequence)[plan.sequence])
