"""Rows to batches: labels, positions, and which rows a step takes. The label shift lives here only.

A micro-batch is whole rows laid end to end, `[1, num_tokens]`, with the lengths of all their segments.
Attention keeps segments apart, so nothing is padded to a common length and fixed windows and rows of
differing length are one case: rows are taken in order while they fit a budget of tokens.

Epoch 0 is the stored order, later epochs are permutations seeded by (seed, epoch). What a step takes
follows from the position (epoch, row) alone, so a resumed run sees exactly what it would have seen.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from training.dataset import Row, Split

IGNORED = -100  # the label that no loss counts, as in torch's cross entropy


def shift_labels(input_ids: NDArray[np.int32], loss_mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """`labels[t]` is the token that position t has to predict, or -100: the next token, if it is a target.

    Two segments of four tokens, end to end:

        position     0     1     2     3  |  4     5     6     7
        input_ids    a     b     c     d  |  w     x     y     z
        loss_mask    0     0     1     1  |  0     1     1     1       this token is a target
        labels    -100     c     d  -100  |  x     y     z  -100       position t predicts token t + 1

    Position 3 predicts nothing: w stands in another segment, and the mask of a segment's first token is 0.
    """
    labels = np.full(len(input_ids), IGNORED, np.int64)
    labels[:-1][loss_mask[1:]] = input_ids[1:][loss_mask[1:]]
    return labels


def restart_positions(seq_lens: NDArray[np.int32]) -> NDArray[np.int64]:
    """0, 1, 2, … from the start of each segment: int64 [sum(seq_lens)]."""
    starts = np.cumsum(seq_lens) - seq_lens
    return np.arange(int(seq_lens.sum()), dtype=np.int64) - np.repeat(starts, seq_lens)


@dataclass(frozen=True)
class Batch:
    """Whole rows laid end to end, ready for a model."""

    input_ids: torch.Tensor  # int64 [1, num_tokens]
    position_ids: torch.Tensor  # int64 [1, num_tokens]  restarts at 0 in each segment
    labels: torch.Tensor  # int64 [num_tokens]  already shifted: what position t has to predict, or -100
    weights: torch.Tensor | None  # float32 [num_tokens]  weight of each position's label, where used
    seq_lens: tuple[int, ...]  # segments of all rows, padding included; adds up to num_tokens
    num_tokens: int  # without padding
    num_target_tokens: int
    target_weight: float  # sum of the targets' weights: their number where no weights are used

    def to(self, device: torch.device) -> Batch:
        """The same batch with its tensors on a device."""
        return Batch(
            input_ids=self.input_ids.to(device),
            position_ids=self.position_ids.to(device),
            labels=self.labels.to(device),
            weights=None if self.weights is None else self.weights.to(device),
            seq_lens=self.seq_lens,
            num_tokens=self.num_tokens,
            num_target_tokens=self.num_target_tokens,
            target_weight=self.target_weight,
        )


def collate(rows: Sequence[Row]) -> Batch:
    """Lay rows end to end; the shift sees them as one array, since a row begins with a segment."""
    input_ids = np.concatenate([row.input_ids for row in rows])
    loss_mask = np.concatenate([row.loss_mask for row in rows])
    seq_lens = np.concatenate([row.seq_lens for row in rows])
    weights = _token_weights(rows)
    return Batch(
        input_ids=torch.from_numpy(input_ids.astype(np.int64))[None],
        position_ids=torch.from_numpy(restart_positions(seq_lens))[None],
        labels=torch.from_numpy(shift_labels(input_ids, loss_mask)),
        weights=None if weights is None else torch.from_numpy(weights),
        seq_lens=tuple(int(length) for length in seq_lens),
        num_tokens=sum(row.num_tokens for row in rows),
        num_target_tokens=int(loss_mask.sum()),
        target_weight=float(loss_mask.sum() if weights is None else weights[loss_mask].sum(dtype=np.float64)),
    )


def _token_weights(rows: Sequence[Row]) -> NDArray[np.float32] | None:
    """Each segment's weight at the positions of its tokens; a label never leaves its segment."""
    if all(row.loss_weights is None for row in rows):
        return None
    weights = [
        np.ones(len(row.input_ids), np.float32)
        if row.loss_weights is None
        else np.repeat(row.loss_weights.astype(np.float32), row.seq_lens)
        for row in rows
    ]
    return np.concatenate(weights)


@dataclass(frozen=True)
class Position:
    """Where the loader stands: the next row to take is `order(epoch)[row]`."""

    epoch: int = 0
    row: int = 0


class Loader:
    """Hands out micro-batches of whole rows, for ever; `position` is all its state."""

    def __init__(self, split: Split, seed: int, token_budget: int, position: Position | None = None) -> None:
        if len(split) == 0:
            raise ValueError("a loader needs at least one row")
        self.position = position or Position()
        self._split = split
        self._seed = seed
        self._token_budget = token_budget
        self._order = self.order(self.position.epoch)

    def order(self, epoch: int) -> NDArray[np.int64]:
        """Row numbers in the order of an epoch: as stored in epoch 0, then a permutation an epoch."""
        if epoch == 0:
            return np.arange(len(self._split), dtype=np.int64)
        return np.random.default_rng([self._seed, epoch]).permutation(len(self._split))

    def take(self) -> Batch:
        """The next rows that fit the token budget, at least one; the last of an epoch may meet the next."""
        rows = [self._advance()]
        taken = len(rows[0].input_ids)
        while taken + (length := len(self._peek().input_ids)) <= self._token_budget:
            rows.append(self._advance())
            taken += length
        return collate(rows)

    def _peek(self) -> Row:
        return self._split[int(self._order[self.position.row])]

    def _advance(self) -> Row:
        row = self._peek()
        epoch, place = self.position.epoch, self.position.row + 1
        if place == len(self._split):
            epoch, place = epoch + 1, 0
            self._order = self.order(epoch)
        self.position = Position(epoch, place)
        return row


def held_out_rows(num_rows: int, limit: int) -> list[int]:
    """At most `limit` rows, evenly spaced, so that every kind and source has its part: always the same."""
    if num_rows <= limit:
        return list(range(num_rows))
    return [round(place) for place in np.linspace(0, num_rows - 1, limit)]


def in_order(split: Split, rows: Sequence[int], token_budget: int) -> Iterator[Batch]:
    """These rows once, in micro-batches of at most `token_budget` tokens (or one row)."""
    waiting: list[Row] = []
    taken = 0
    for number in rows:
        row = split[number]
        if waiting and taken + len(row.input_ids) > token_budget:
            yield collate(waiting)
            waiting, taken = [], 0
        waiting.append(row)
        taken += len(row.input_ids)
    if waiting:
        yield collate(waiting)
