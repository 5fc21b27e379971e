"""The loss of a step: the sum over its targets divided by their number, whatever the micro-batches.

Where the dataset has `loss_weights`, each target's loss is multiplied by its segment's weight, and what the sum is
divided by is the sum of these weights: a weighted mean, so that doubling every weight changes nothing.

`count` is that divisor, taken over *all* micro-batches of the step (and all ranks), so that accumulating over many
small ones, ragged or not, is the same as one big batch. A step without any target divides by 1 and gives 0, not NaN.

Logits are made at target positions only and a slice at a time, and each slice goes backward at once:
memory is `slice × vocabulary`, not `tokens × vocabulary`, at no recomputation.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import cross_entropy

from training.batches import IGNORED, Batch

# Logits that exist at once. On a CPU 16 MiB of float32 stay near the caches and are reused by the allocator
# (cross entropy over 64 MiB took four times as long a logit); a GPU wants its matrices large.
LOGITS_AT_ONCE = {"cpu": 1 << 22, "cuda": 1 << 27}

Head = torch.nn.Linear  # hidden states [n, hidden] to logits [n, vocabulary]


def backward(head: Head, hidden: torch.Tensor, batch: Batch, count: float) -> float:
    """Add the gradients of this micro-batch's part of the step's loss; returns that part.

    `hidden` is [num_tokens, hidden_size] and still joined to the model's graph.
    """
    places, labels, weights = _targets(batch)
    if len(places) == 0:
        return 0.0
    chosen = hidden[places]
    leaf = chosen.detach().requires_grad_()
    total = 0.0
    for part in _slices(places, head):
        loss = _sum(head(leaf[part]), labels[part], weights, part) / (count or 1)
        _go_backward(loss)
        total += float(loss.detach())
    _go_backward(chosen, leaf.grad)
    return total


def _go_backward(tensor: torch.Tensor, gradient: torch.Tensor | None = None) -> None:
    """Backward outside of autocast: gradients take the types of their forward."""
    with torch.autocast(tensor.device.type, enabled=False):
        torch.autograd.backward(tensor, gradient)


@torch.no_grad()
def loss_sum(head: Head, hidden: torch.Tensor, batch: Batch) -> float:
    """The summed, unweighted loss over this micro-batch's targets, in nats."""
    places, labels, _ = _targets(batch)
    chosen = hidden[places]
    return sum(float(_sum(head(chosen[part]), labels[part], None, part)) for part in _slices(places, head))


def _targets(batch: Batch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """Positions that predict something, what they predict, and with which weight."""
    places = (batch.labels != IGNORED).nonzero().squeeze(1)
    weights = None if batch.weights is None else batch.weights[places]
    return places, batch.labels[places], weights


def _slices(places: torch.Tensor, head: Head) -> Iterator[slice]:
    """Slices of the target positions, as many at once as the budget of logits allows."""
    size = max(16, LOGITS_AT_ONCE.get(places.device.type, 1 << 22) // head.weight.shape[0])
    return (slice(start, start + size) for start in range(0, len(places), size))


def _sum(
    logits: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor | None, part: slice
) -> torch.Tensor:
    if weights is None:
        return cross_entropy(logits.float(), labels, reduction="sum")
    return (cross_entropy(logits.float(), labels, reduction="none") * weights[part]).sum()


def unigram_entropy(targets: Iterable[NDArray[np.integer]]) -> float | None:
    """Entropy in nats of the target tokens' own frequencies; None where there are none.

    It is the loss of the best model that ignores context: a held-out loss below it shows that something
    was learned. `targets` are arrays of token ids, one or many.
    """
    counts = np.zeros(0, np.int64)
    for tokens in targets:
        here = np.bincount(tokens, minlength=len(counts))
        here[: len(counts)] += counts
        counts = here
    total = int(counts.sum())
    if total == 0:
        return None
    shares = counts[counts > 0] / total
    return float(-(shares * np.log(shares)).sum())
