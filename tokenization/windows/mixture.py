"""Which windows make an epoch: every SFT window once, and as much text as the share asks for.

The share is a fraction with a unit, because 15 % of all tokens can be most of the *target* tokens: prompts
are masked and text is not. Padding counts in neither unit. Pretraining windows are drawn whole, so the share
is met as closely as one window allows; the windows and both units are reported as achieved.

    sft        ■ ■ ■ ■ ■ ■ ■ ■ ■ ■ ■     a seeded order, each window once
    pretrain   □ □                       seeded rounds over all windows, as far as the share goes
    rows       ■ ■ ■ □ ■ ■ ■ ■ ■ □ ■ ■ ■ evenly spread

Guarantees: no other number of windows comes nearer to the share; none is seen again before all were seen; any
stretch of rows holds its part of pretraining windows to within one; one (seed, epoch), one order, and neither
kind's draw depends on how many windows the other has. Price: one permutation a kind, and a few passes over
the counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tokenization.sequences import IntArray
from tokenization.windows.plan import checked_lengths
from tokenization.windows.row_order import (
    PRETRAIN,
    SFT,
    RowOrder,
    plan_single_kind,
    spread_evenly,
    stored_order,
)
from tokenization.windows.share import Share, Unit

__all__ = [
    "PRETRAIN",
    "SFT",
    "Mixture",
    "RowOrder",
    "Unit",
    "plan_mixture",
    "plan_single_kind",
    "stored_order",
]


@dataclass(frozen=True)
class Mixture(RowOrder):
    """The rows of one epoch, with what was asked and what came of it."""

    unit: Unit
    asked: float  # share of pretraining, in `unit`
    achieved: dict[str, float]  # share of pretraining by windows, total_tokens and target_tokens
    repetition: float  # pretraining windows drawn / available
    not_drawn: dict[str, int]  # windows, tokens and targets of the text that this epoch leaves out
    repeated: dict[str, int]  # windows, tokens and targets drawn beyond a window's first time

    def report(self) -> dict[str, Any]:
        """What the manifest says of the mixture."""
        return {
            "unit": self.unit,
            "asked": self.asked,
            "achieved": self.achieved,
            "repetition": self.repetition,
            "not_drawn": self.not_drawn,
            "repeated": self.repeated,
        }


@dataclass(frozen=True)
class _Windows:
    """The windows of one kind, by what they hold without padding."""

    tokens: IntArray  # int64 [num_windows]
    targets: IntArray  # int64 [num_windows]

    def __post_init__(self) -> None:
        if len(self.tokens) != len(self.targets):
            raise ValueError(f"{len(self.tokens)} windows by tokens, {len(self.targets)} by targets")

    def __len__(self) -> int:
        return len(self.tokens)

    def sizes(self, unit: Unit) -> IntArray:
        return {"total_tokens": self.tokens, "target_tokens": self.targets}[unit]

    def totals(self, chosen: IntArray | NDArray[np.bool_]) -> dict[str, int]:
        tokens, targets = self.tokens[chosen], self.targets[chosen]
        return {"windows": len(tokens), "tokens": int(tokens.sum()), "targets": int(targets.sum())}


def plan_mixture(
    *,
    sft_tokens: ArrayLike,
    sft_targets: ArrayLike,
    pretrain_tokens: ArrayLike,
    pretrain_targets: ArrayLike,
    share: float,
    unit: Unit,
    max_repetition: float,
    seed: int,
    keep_last: int | None,
    epoch: int = 0,
) -> Mixture:
    """One epoch of both kinds; `keep_last` is the padded pretraining window, drawn last in each round."""
    sft = _Windows(checked_lengths(sft_tokens), checked_lengths(sft_targets))
    text = _Windows(checked_lengths(pretrain_tokens), checked_lengths(pretrain_targets))
    wanted = Share.of(share, unit, int(sft.sizes(unit).sum()))
    sft_rng, text_rng = np.random.default_rng([seed, epoch]).spawn(2)

    drawn = _draw(wanted, text.sizes(unit), max_repetition, _rounds(len(text), keep_last, text_rng))
    rows = spread_evenly(sft_rng.permutation(len(sft)), drawn)
    left_out = np.ones(len(text), np.bool_)
    left_out[drawn] = False
    return Mixture(
        kind=rows.kind,
        index=rows.index,
        unit=unit,
        asked=share,
        achieved=_achieved(sft.totals(rows.index[rows.kind == SFT]), text.totals(drawn)),
        repetition=len(drawn) / len(text) if len(text) else 0.0,
        not_drawn=text.totals(left_out),
        repeated=text.totals(drawn[len(text) :]),  # the first round is every window's first time
    )


def _rounds(available: int, keep_last: int | None, rng: np.random.Generator) -> Iterator[IntArray]:
    """One seeded order of all pretraining windows after another, for ever."""
    if keep_last is not None and not 0 <= keep_last < available:
        raise ValueError(f"window {keep_last} cannot be kept for last: there are {available}")
    while True:
        order = rng.permutation(available)
        if keep_last is not None:
            order = np.append(order[order != keep_last], keep_last)
        yield order


def _draw(wanted: Share, sizes: IntArray, max_repetition: float, rounds: Iterator[IntArray]) -> IntArray:
    """Pretraining windows in the order drawn: of the rounds, as many as come nearest to the share."""
    most = floor(Fraction(str(max_repetition)) * len(sizes))
    have = int(sizes.sum())
    whole_rounds = floor(wanted.needed / have) if have else 0
    if whole_rounds * len(sizes) > most or (wanted.needed and not have):
        raise wanted.too_little_text(have, len(sizes), max_repetition)

    orders = [next(rounds) for _ in range(whole_rounds + 1)]  # the share is reached within the last of them
    totals = np.append(0, np.cumsum(sizes[orders[-1]])) + whole_rounds * have  # after 0, 1, … of its windows
    reached = int(np.searchsorted(totals, ceil(wanted.needed)))
    nearest = min(range(max(reached - 1, 0), reached + 1), key=lambda k: wanted.miss(int(totals[k])))
    num_drawn = whole_rounds * len(sizes) + nearest
    if num_drawn > most:
        raise wanted.too_little_text(have, len(sizes), max_repetition, Fraction(num_drawn, len(sizes)))
    return np.concatenate(orders)[:num_drawn]


def _achieved(sft: dict[str, int], text: dict[str, int]) -> dict[str, float]:
    """Pretraining's part of the windows, tokens and targets."""
    names = {"windows": "windows", "total_tokens": "tokens", "target_tokens": "targets"}
    return {name: text[key] / (sft[key] + text[key]) if text[key] else 0.0 for name, key in names.items()}
