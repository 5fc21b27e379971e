"""The held-out loss: the same validation rows each time, whole and by kind, beside the unigram entropy.

Rows are evenly spaced over the split, so that every kind and source has its part. The loss is unweighted,
in nats a target token: below the entropy of the tokens' own frequencies, the model uses context.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from training.attention import hidden_states
from training.batches import in_order
from training.dataset import Split
from training.loss import loss_sum, unigram_entropy


def split_entropy(split: Split) -> float | None:
    """Unigram entropy of all target tokens of a split, in nats; None where it has none."""
    rows = (split[number] for number in range(len(split)))
    return unigram_entropy(row.input_ids[row.loss_mask] for row in rows)


@torch.no_grad()
def held_out_loss(
    model: Any, split: Split, rows: Sequence[int], token_budget: int, device: torch.device
) -> tuple[float, dict[str, float]]:
    """Loss a target token over these rows, and the same for each kind that has targets among them."""
    model.eval()
    of_kind: dict[str, list[int]] = {}
    for row in rows:
        of_kind.setdefault(split[row].kind, []).append(row)
    sums = {
        kind: _sums(model, split, of_kind[kind], token_budget, device) for kind in sorted(of_kind)
    }  # kind to (summed loss, target tokens)
    model.train()
    total = sum(count for _, count in sums.values())
    by_kind = {kind: loss / count for kind, (loss, count) in sums.items() if count}
    return sum(loss for loss, _ in sums.values()) / max(total, 1), by_kind


def _sums(
    model: Any, split: Split, rows: Sequence[int], token_budget: int, device: torch.device
) -> tuple[float, int]:
    loss, count = 0.0, 0
    for held in in_order(split, rows, token_budget):
        batch = held.to(device)
        loss += loss_sum(model.get_output_embeddings(), hidden_states(model, batch), batch)
        count += batch.num_target_tokens
    return loss, count
