"""Segments see themselves and nothing else."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from tests.training.builds import Segment, counting, document, padding
from tests.training.test_batches import row_of
from tokenization.errors import RecipeError
from training import attention
from training.attention import Segments, check_model, hidden_states, segment_attention
from training.batches import collate
from training.dataset import Build

A, B, C = (counting(start, length, 40) for start, length in ((0, 9), (20, 14), (7, 5)))


def logits(model: Any, segments: list[Segment]) -> torch.Tensor:
    with torch.no_grad():
        hidden = hidden_states(model, collate([row_of(segments)]))
        result: torch.Tensor = model.get_output_embeddings()(hidden)
    return result


def test_packed_logits_equal_per_document_logits(model: Any) -> None:
    packed = logits(model, [A, B, C])
    alone = torch.cat([logits(model, [segment]) for segment in (A, B, C)])
    assert packed.std() > 0.01
    torch.testing.assert_close(packed, alone, rtol=1e-5, atol=1e-5)


def test_a_document_alone_has_the_logits_of_transformers_own_attention(model: Any, build: Build) -> None:
    from transformers import AutoModelForCausalLM

    plain = AutoModelForCausalLM.from_config(model.config, attn_implementation="sdpa")
    plain.load_state_dict(model.state_dict())
    with torch.no_grad():
        known = plain.eval()(torch.tensor([B.input_ids])).logits[0]
    torch.testing.assert_close(logits(model, [A, B, C])[9:23], known, rtol=1e-5, atol=1e-5)


def test_changing_one_document_leaves_the_others_logits_bit_identical(model: Any) -> None:
    other = document(reversed(A.input_ids))
    before, after = logits(model, [A, B, C]), logits(model, [other, B, C])
    assert torch.equal(before[9:], after[9:])
    assert not torch.equal(before[:9], after[:9])


def test_one_segment_over_two_documents_does_leak(model: Any) -> None:
    """The breaking input: without the boundary, the same change reaches the second document."""
    joined = [
        Segment(first.input_ids + B.input_ids, [False] * 23) for first in (A, document(reversed(A.input_ids)))
    ]
    before, after = (logits(model, [segment])[9:] for segment in joined)
    assert not torch.allclose(before, after, atol=1e-4)


def test_a_fully_padded_window_gives_no_nan_and_no_gradient(model: Any) -> None:
    from training.loss import backward

    batch = collate([row_of([padding(32)])])
    hidden = hidden_states(model, batch)
    assert torch.isfinite(hidden).all()
    assert backward(model.get_output_embeddings(), hidden, batch, batch.num_target_tokens) == 0.0
    assert all(p.grad is None for p in model.parameters())


def test_padding_changes_nothing_before_it(model: Any) -> None:
    assert torch.equal(logits(model, [A, padding(10)])[:9], logits(model, [A, document([5] * 10)])[:9])


def test_segments_must_add_up_to_the_tokens(model: Any) -> None:
    ids = torch.arange(6)[None]
    with pytest.raises(ValueError, match="add up to one row of 6 tokens"):
        model.base_model(input_ids=ids, position_ids=ids, segments=Segments((3, 2), ids.device))
    with pytest.raises(ValueError, match="add up"):
        model.base_model(input_ids=ids, position_ids=ids)


def reference(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, lengths: list[int], window: int
) -> torch.Tensor:
    """Dense masked attention over all tokens at once."""
    number = torch.from_numpy(np.repeat(np.arange(len(lengths)), lengths))
    distance = torch.arange(len(number))[:, None] - torch.arange(len(number))[None]
    seen = (number[:, None] == number[None]) & (distance >= 0) & (distance < window)
    k, v = (x.repeat_interleave(q.shape[1] // k.shape[1], 1) for x in (k, v))
    scores = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).masked_fill(~seen, -torch.inf)
    return (scores.softmax(-1) @ v).transpose(1, 2)


def heads(tokens: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return torch.randn(1, 4, tokens, 8), torch.randn(1, 2, tokens, 8), torch.randn(1, 2, tokens, 8)


@pytest.mark.parametrize("window", [None, 3, 100])
def test_a_sliding_window_stays_inside_its_segment(window: int | None) -> None:
    q, k, v = heads(12)
    segments = Segments((5, 1, 6), q.device)
    found, _ = segment_attention(torch.nn.Identity(), q, k, v, None, segments=segments, sliding_window=window)
    torch.testing.assert_close(found, reference(q, k, v, [5, 1, 6], window or 100), rtol=1e-5, atol=1e-5)
    assert not torch.allclose(found, reference(q, k, v, [6, 6], window or 100), atol=1e-2)


@pytest.mark.parametrize("takes_groups", [True, False])
def test_the_gpu_call_is_laid_out_as_varlen_attention_wants_it(takes_groups: bool) -> None:
    """Tokens first, running sums in int32, causal as a window of 0 to the right, the value's type; grouped heads where
    this torch takes them (2.12 on), else as many keys and values as queries."""
    seen: dict[str, Any] = {}

    def earlier(
        q: Any, k: Any, v: Any, cu_q: Any, cu_k: Any, max_q: int, max_k: int, scale: Any, window_size: Any
    ) -> Any:
        seen.update(cu=cu_q, longest=(max_q, max_k), dtypes={x.dtype for x in (q, k, v)}, heads=k.shape[1])
        seen.update(window_size=window_size, scale=scale)
        lengths = cu_q.diff().tolist()
        q, k, v = (x.float().transpose(0, 1)[None] for x in (q, k, v))
        return reference(q, k, v, lengths, 100)[0].to(torch.bfloat16)

    def later(*places: Any, enable_gqa: bool = False, **names: Any) -> Any:
        seen["enable_gqa"] = enable_gqa
        return earlier(*places, **names)

    varlen = later if takes_groups else earlier
    q, k, v = heads(12)
    segments = Segments((5, 1, 6), q.device)
    found = attention._all_at_once(varlen, q, k, v.bfloat16(), segments, 8**-0.5, None)
    known = attention._one_by_one(q, k, v, segments, None, 0.0, None)
    torch.testing.assert_close(found.float(), known, rtol=0.05, atol=0.05)
    assert seen["cu"].tolist() == [0, 5, 6, 12] and seen["cu"].dtype == torch.int32
    assert seen["longest"] == (6, 6) and seen["dtypes"] == {torch.bfloat16}
    assert seen["window_size"] == (-1, 0) and seen["scale"] == 8**-0.5
    assert (seen["heads"], seen.get("enable_gqa")) == ((2, True) if takes_groups else (4, None))


def test_this_torch_has_the_varlen_attention_that_is_called() -> None:
    assert attention._varlen_attn() is not None


def test_attention_that_plain_sdpa_cannot_make_is_refused() -> None:
    q, k, v = heads(4)
    with pytest.raises(RecipeError, match="needs softcap"):
        segment_attention(torch.nn.Identity(), q, k, v, None, segments=Segments((4,), q.device), softcap=30.0)


def test_a_model_that_leaks_between_segments_is_refused(model: Any) -> None:
    """A layer that mixes neighbouring tokens outside of attention, as convolutions and recurrences do."""

    def mix(_: Any, __: Any, output: torch.Tensor) -> torch.Tensor:
        return output + output.roll(1, dims=1)

    check_model(model)
    model.model.layers[0].mlp.register_forward_hook(mix)
    model.model.embed_tokens.weight.data.mul_(20)
    with pytest.raises(RecipeError, match="lets a segment see the one before it"):
        check_model(model)


def test_a_model_that_changes_its_logits_after_the_head_is_refused(
    model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_model(model)
    plain = model.forward

    def scaled(*inputs: Any, **named: Any) -> Any:
        output = plain(*inputs, **named)
        output.logits = output.logits * 0.1
        return output

    model.get_output_embeddings().weight.data.mul_(20)
    monkeypatch.setattr(model, "forward", scaled)
    with pytest.raises(RecipeError, match="changes its logits after the output projection"):
        check_model(model)
