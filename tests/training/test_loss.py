"""The loss of a step is the sum over its targets divided by their number."""

from __future__ import annotations

import copy
import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy

from tests.training.builds import Segment, counting, padding, session
from tests.training.test_batches import row_of
from training import loss as loss_module
from training.attention import hidden_states
from training.batches import IGNORED, Batch, collate
from training.loss import backward, loss_sum, unigram_entropy

ROWS = [
    [counting(0, 9, 40), session([4, 5, 6], [7, 2])],
    [session([9, 9, 9, 9, 9], [3]), padding(8)],
    [counting(20, 14, 40)],
]


def gradients(model: Any, batches: list[Batch]) -> tuple[float, list[torch.Tensor]]:
    """Loss and gradients of one step over these micro-batches."""
    model = copy.deepcopy(model)
    count = sum(batch.target_weight for batch in batches)
    loss = sum(backward(model.get_output_embeddings(), hidden_states(model, b), b, count) for b in batches)
    return loss, [p.grad for p in model.parameters()]


def test_the_loss_and_its_gradients_are_cross_entropys(model: Any) -> None:
    batch = collate([row_of(row) for row in ROWS])
    loss, found = gradients(model, [batch])
    logits = model.get_output_embeddings()(hidden_states(model, batch))
    known = cross_entropy(logits, batch.labels, ignore_index=IGNORED)  # the mean over targets
    known.backward()
    assert batch.num_target_tokens == 8 + 2 + 1 + 13
    assert loss == pytest.approx(known.item(), rel=1e-6)
    for one, other in zip(found, [p.grad for p in model.parameters()], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-7)


def test_accumulating_ragged_micro_batches_equals_one_big_batch(model: Any) -> None:
    whole, known = gradients(model, [collate([row_of(row) for row in ROWS])])
    parts, found = gradients(model, [collate([row_of(row)]) for row in ROWS])
    assert parts == pytest.approx(whole, rel=1e-6)
    for one, other in zip(found, known, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-7)


def test_the_mean_of_micro_batch_means_is_another_loss(model: Any) -> None:
    """The breaking input: what dividing by each micro-batch's own count would give."""
    whole, _ = gradients(model, [collate([row_of(row) for row in ROWS])])
    means = [gradients(model, [collate([row_of(row)])])[0] for row in ROWS]
    assert abs(sum(means) / len(means) - whole) > 1e-4


def test_a_batch_without_targets_has_loss_0_and_no_nan(model: Any) -> None:
    masked = Segment([3, 4, 5], [False, False, False])
    batch = collate([row_of([masked])])
    assert batch.num_target_tokens == 0
    loss, grads = gradients(model, [batch])
    assert loss == 0.0 and all(grad is None for grad in grads)
    assert loss_sum(model.get_output_embeddings(), hidden_states(model, batch), batch) == 0


def test_a_masked_micro_batch_among_others_changes_nothing(model: Any) -> None:
    masked = collate([row_of([Segment([3, 4, 5], [False] * 3)])])
    batch = collate([row_of(ROWS[0])])
    assert gradients(model, [batch, masked])[0] == gradients(model, [batch])[0]


def test_slices_only_bound_memory(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = collate([row_of([counting(0, 100, 40)])])
    whole, known = gradients(model, [batch])
    summed = loss_sum(model.get_output_embeddings(), hidden_states(model, batch), batch)
    sizes: list[int] = []
    monkeypatch.setitem(loss_module.LOGITS_AT_ONCE, "cpu", 16 * 40)
    monkeypatch.setattr(
        loss_module,
        "cross_entropy",
        lambda logits, *a, **k: sizes.append(len(logits)) or cross_entropy(logits, *a, **k),
    )
    sliced, found = gradients(model, [batch])
    assert max(sizes) == 16 and sum(sizes) == 99
    assert sliced == pytest.approx(whole, rel=1e-6)
    assert loss_sum(model.get_output_embeddings(), hidden_states(model, batch), batch) == pytest.approx(
        summed
    )
    for one, other in zip(found, known, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-7)


def weighed(rows: list[list[Segment]], *weights: float) -> list[list[Segment]]:
    """The same rows, their segments with these weights in turn."""
    chosen = itertools.cycle(weights)
    return [[Segment(s.input_ids, s.loss_mask, weight=next(chosen)) for s in row] for row in rows]


def test_weights_multiply_each_targets_loss_and_the_divisor_is_their_sum(model: Any) -> None:
    rows = weighed(ROWS, 0.25, 3.0)
    batch = collate([row_of(row, weights=True) for row in rows])
    loss, found = gradients(model, [batch])
    logits = model.get_output_embeddings()(hidden_states(model, batch))
    each = cross_entropy(logits, batch.labels, ignore_index=IGNORED, reduction="none")
    of_target = batch.weights[batch.labels != IGNORED]
    assert (
        batch.target_weight
        == pytest.approx(float(of_target.sum()))
        == 0.25 * 8 + 3 * 2 + 0.25 * 1 + 0.25 * 13
    )
    known = (each * batch.weights).sum() / of_target.sum()
    known.backward()
    assert loss == pytest.approx(known.item(), rel=1e-6)
    for one, other in zip(found, [p.grad for p in model.parameters()], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-7)


def test_accumulating_weighed_micro_batches_equals_one_big_batch(model: Any) -> None:
    rows = weighed(ROWS, 0.25, 3.0)
    whole, known = gradients(model, [collate([row_of(row, weights=True) for row in rows])])
    parts, found = gradients(model, [collate([row_of(row, weights=True)]) for row in rows])
    assert parts == pytest.approx(whole, rel=1e-6)
    for one, other in zip(found, known, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("weight", [0.001, 0.5, 1.0, 2.0])
def test_one_weight_for_all_changes_nothing_and_different_ones_do(model: Any, weight: float) -> None:
    plain, _ = gradients(model, [collate([row_of(row) for row in ROWS])])
    same, _ = gradients(model, [collate([row_of(row, weights=True) for row in weighed(ROWS, weight)])])
    assert same == pytest.approx(plain, rel=1e-5)
    other, _ = gradients(model, [collate([row_of(row, weights=True) for row in weighed(ROWS, weight, 9.0)])])
    assert abs(other - plain) > 1e-4


def test_autocast_slices_agree_with_float32(model: Any) -> None:
    batch = collate([row_of([counting(0, 100, 40)])])
    loss, known = gradients(model, [batch])
    with torch.autocast("cpu", torch.bfloat16):
        half, found = gradients(model, [batch])
    assert half == pytest.approx(loss, rel=0.02)
    for one, other in zip(found, known, strict=True):
        assert one.dtype == torch.float32
        assert torch.nn.functional.cosine_similarity(one.flatten(), other.flatten(), dim=0) > 0.98


def test_unigram_entropy_is_that_of_the_frequencies() -> None:
    assert unigram_entropy([np.array([5, 5, 9, 9])]) == pytest.approx(math.log(2))
    assert unigram_entropy([np.array([1]), np.array([], np.int32), np.array([7, 300, 1])]) == pytest.approx(
        1.5 * math.log(2)
    )
    assert unigram_entropy([np.array([4, 4, 4])]) == 0
    assert unigram_entropy([]) is None
    assert unigram_entropy([np.array([], np.int64)]) is None


@given(st.lists(st.lists(st.integers(0, 50), max_size=20), max_size=5))
def test_unigram_entropy_does_not_depend_on_how_tokens_are_cut(parts: list[list[int]]) -> None:
    flat = [token for part in parts for token in part]
    cut, whole = (unigram_entropy(np.array(x, np.int64) for x in xs) for xs in (parts, [flat]))
    assert cut == whole
    assert cut is None or 0 <= cut <= math.log(51)
