"""The order of rows: which window of which kind stands in each row of a dataset.

Guarantees: every window given stands in one row; one (seed, epoch), one order. Price: a permutation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tokenization.sequences import IntArray

SFT, PRETRAIN = 0, 1


@dataclass(frozen=True)
class RowOrder:
    """Rows of a dataset as windows: row r is window `index[r]` of kind `kind[r]`."""

    kind: NDArray[np.int8]  # int8 [num_rows]  0 = sft, 1 = pretrain
    index: IntArray  # int64 [num_rows]  window within its kind

    def __len__(self) -> int:
        return len(self.kind)


def plan_single_kind(num_windows: int, seed: int, *, kind: int, epoch: int = 0) -> RowOrder:
    """One epoch of one kind alone: every window once, in a seeded order."""
    index = np.random.default_rng([seed, epoch]).permutation(num_windows)
    return RowOrder(kind=np.full(num_windows, kind, np.int8), index=index)


def stored_order(*, num_pretrain: int, num_sft: int) -> RowOrder:
    """Every window once as it stands, pretraining before SFT: validation, which has no share."""
    return RowOrder(
        kind=np.repeat(np.array([PRETRAIN, SFT], np.int8), [num_pretrain, num_sft]),
        index=np.concatenate([np.arange(num_pretrain), np.arange(num_sft)]),
    )


def spread_evenly(sft: IntArray, pretrain: IntArray) -> RowOrder:
    """Both kinds in one order, each in the order given, pretraining evenly between.

    Of the rows before row r, r · num_pretrain / num_rows are pretraining, rounded to the nearest (half down).
    So any stretch of n rows holds n · num_pretrain / num_rows of them, rounded up or down.
    """
    num_rows = len(sft) + len(pretrain)
    kind = np.full(num_rows, SFT, np.int8)
    if len(pretrain):
        turn = np.arange(len(pretrain), dtype=np.int64)
        kind[(2 * turn + 1) * num_rows // (2 * len(pretrain))] = PRETRAIN
    index = np.empty(num_rows, np.int64)
    index[kind == SFT] = sft
    index[kind == PRETRAIN] = pretrain
    return RowOrder(kind, index)
