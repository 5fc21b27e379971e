"""Attention that keeps segments apart, plugged into `transformers` under the name "segments".

A model's forward is called with `segments=Segments(...)`; every attention layer then sees, for each
token, only the tokens before it in its own segment. Padding is a segment like any other and sees itself,
so no row of scores is ever fully masked (a softmax over nothing is NaN).

On the CPU, and in float32, each segment is one causal SDPA call: the price follows the sum of squared
segment lengths, no dense mask is built, and a segment's result cannot depend on its neighbours, bit for
bit. On a GPU in half precision all segments go into one `varlen_attn` call.

Resetting position ids alone does not keep segments apart, and some architectures mix tokens outside of
attention. `check_model` therefore tries the loaded model on a few tokens and refuses one that leaks.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention

from tokenization.errors import RecipeError
from training.batches import Batch

NAME = "segments"
UNSUPPORTED = ("softcap", "position_bias", "s_aux", "sinks")  # score changes that plain SDPA cannot make


@dataclass(frozen=True)
class Segments:
    """Lengths of the segments that lie end to end in a batch of one row."""

    lengths: tuple[int, ...]
    device: torch.device

    @cached_property
    def cu_seqlens(self) -> torch.Tensor:
        """Running sum with a leading 0, int32 [num_segments + 1], on the device."""
        ends = torch.tensor(self.lengths, dtype=torch.int32).cumsum(0, dtype=torch.int32)
        return torch.cat([torch.zeros(1, dtype=torch.int32), ends]).to(self.device)


def register() -> None:
    """Make the name "segments" known to `transformers`; calling it again changes nothing."""
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(NAME, segment_attention)
    AttentionMaskInterface.register(NAME, no_mask)


def no_mask(*_: Any, **__: Any) -> None:
    """Segments need no dense mask."""


def segment_attention(
    module: torch.nn.Module,
    query: torch.Tensor,  # [1, num_heads, num_tokens, head_dim]
    key: torch.Tensor,  # [1, num_key_value_heads, num_tokens, head_dim]
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    segments: Segments | None = None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    **others: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention inside each segment; returns [1, num_tokens, num_heads, head_dim]."""
    del module, attention_mask
    unsupported = [name for name in UNSUPPORTED if others.get(name) is not None]
    if unsupported:
        raise RecipeError(f"this model's attention needs {unsupported[0]}, which segments do not support yet")
    if segments is None or query.shape[0] != 1 or query.shape[2] != sum(segments.lengths):
        raise ValueError(f"segments must add up to one row of {query.shape[2]} tokens, got {segments}")
    varlen = _varlen_attn() if query.is_cuda and value.dtype != torch.float32 and not dropout else None
    if varlen is not None:
        return _all_at_once(varlen, query, key, value, segments, scaling, sliding_window), None
    return _one_by_one(query, key, value, segments, scaling, dropout, sliding_window), None


def _one_by_one(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    segments: Segments,
    scaling: float | None,
    dropout: float,
    sliding_window: int | None,
) -> torch.Tensor:
    """One SDPA call a segment. `torch.split` rather than slices: its backward is one concatenation."""
    grouped = query.shape[1] != key.shape[1]
    outputs = []
    lengths = list(segments.lengths)
    parts = (torch.split(x, lengths, dim=2) for x in (query, key, value))
    for q, k, v in zip(*parts, strict=True):
        mask = _sliding_mask(q.shape[2], sliding_window, q.device)
        outputs.append(
            scaled_dot_product_attention(
                q,
                k,
                v,
                attn_mask=mask,
                is_causal=mask is None,
                scale=scaling,
                dropout_p=dropout,
                enable_gqa=grouped,
            )
        )
    return torch.cat(outputs, dim=2).transpose(1, 2)


def _sliding_mask(length: int, sliding_window: int | None, device: torch.device) -> torch.Tensor | None:
    """Which earlier tokens each token sees, where a sliding window is shorter than the segment."""
    if sliding_window is None or length <= sliding_window:
        return None
    distance = torch.arange(length, device=device)[:, None] - torch.arange(length, device=device)[None]
    return (distance >= 0) & (distance < sliding_window)


def _all_at_once(
    varlen: Callable[..., Any],
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    segments: Segments,
    scaling: float | None,
    sliding_window: int | None,
) -> torch.Tensor:
    """One call for all segments: tokens first, [num_tokens, heads, head_dim], and their running sum.

    Rotary embeddings and query/key norms leave float32 behind under autocast; the value's type is the
    one that autocast chose.
    """
    longest = max(segments.lengths)
    grouped = query.shape[1] // key.shape[1]
    options: dict[str, Any] = {}
    if grouped > 1 and "enable_gqa" in inspect.signature(varlen).parameters:
        options["enable_gqa"] = True
    elif grouped > 1:  # an earlier torch: each head its own keys and values
        key, value = (x.repeat_interleave(grouped, dim=1) for x in (key, value))
    q, k, v = (x[0].transpose(0, 1).to(value.dtype).contiguous() for x in (query, key, value))
    output: torch.Tensor = varlen(
        q,
        k,
        v,
        segments.cu_seqlens,
        segments.cu_seqlens,
        longest,
        longest,
        scale=scaling,
        window_size=(-1 if sliding_window is None else sliding_window - 1, 0),  # 0 to the right = causal
        **options,
    )
    return output[None]


@lru_cache(maxsize=1)
def _varlen_attn() -> Callable[..., Any] | None:
    """torch's variable-length attention, where this torch has it with a window."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return None
    known = inspect.signature(varlen_attn).parameters
    return varlen_attn if {"scale", "window_size"} <= known.keys() else None


def hidden_states(model: Any, batch: Batch) -> torch.Tensor:
    """The last hidden state of each token, [num_tokens, hidden_size], segments kept apart."""
    segments = Segments(batch.seq_lens, batch.input_ids.device)
    return _forward(model, batch.input_ids, batch.position_ids, segments)


def _forward(
    model: Any, input_ids: torch.Tensor, position_ids: torch.Tensor, segments: Segments
) -> torch.Tensor:
    output = model.base_model(
        input_ids=input_ids, position_ids=position_ids, segments=segments, use_cache=False
    )
    hidden: torch.Tensor = output.last_hidden_state[0]
    return hidden


@torch.no_grad()
def check_model(model: Any) -> None:
    """Refuse a model that lets segments see each other, or whose head does more than a projection.

    Two segments of three tokens: when the first changes, the second's hidden states must not, and the
    head on them must give the logits that the whole model gives for that segment alone.
    """
    name = type(model).__name__
    device = model.get_input_embeddings().weight.device
    tokens = torch.arange(6, device=device)[None] % model.get_input_embeddings().weight.shape[0]
    positions = torch.tensor([[0, 1, 2, 0, 1, 2]], device=device)
    changed = tokens.clone()
    changed[0, :3] = tokens[0, 3:]
    training = model.training
    model.eval()
    segments = Segments((3, 3), device)
    before, after = (_forward(model, ids, positions, segments)[3:] for ids in (tokens, changed))
    if not torch.allclose(before, after, rtol=1e-3, atol=1e-3):
        raise RecipeError(
            f"{name} lets a segment see the one before it (it mixes tokens outside of attention), so packed "
            "documents would leak into each other: use an architecture with plain causal attention"
        )
    alone = model(
        input_ids=tokens[:, 3:], position_ids=positions[:, 3:], segments=Segments((3,), device)
    ).logits[0]
    if not torch.allclose(model.get_output_embeddings()(before), alone, rtol=1e-2, atol=1e-2):
        raise RecipeError(
            f"{name} changes its logits after the output projection (a soft cap or a scale), which this "
            "trainer's loss does not follow: use an architecture without it"
        )
    model.train(training)
