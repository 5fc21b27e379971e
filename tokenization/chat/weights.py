"""How much each sequence weighs in the loss, before its source's weight.

The weight of a target token is its message's own (1 where it has none) times its role's; prompt text that is trained
too weighs 1. A sequence has one weight, because the dataset has one for each segment: where its target tokens differ,
it is their mean, and the sequence is *mixed*, which is recorded among its actions.

Price: nothing where neither a role nor a message has a weight; else about 3 µs a session.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tokenization.chat.outcome import Rendered
from tokenization.chat.roles import Role
from tokenization.sequences import others_than


def sequence_weights(
    messages: pa.ChunkedArray, rendered: Rendered, policy: Mapping[str, Role]
) -> tuple[NDArray[np.float64], set[int]]:
    """The weight of every sequence, float64 [num_sequences], and the numbers of the mixed ones; `messages` are the
    sessions' JSON."""
    weights = np.ones(len(rendered.session))
    mixed: set[int] = set()
    by_role = any(role.weight != 1 for role in policy.values())
    weighed = np.zeros(len(messages), bool)
    rich = others_than(rendered.plain.rows, len(messages))  # plain sessions have no weights
    if len(rich):
        weighed[rich] = pc.match_substring(messages.take(pa.array(rich)), '"weight":').to_numpy(
            zero_copy_only=False
        )
    chosen = np.flatnonzero(weighed[rendered.session] | by_role)
    if not len(chosen):
        return weights, mixed
    ones = np.concatenate([[0], np.cumsum(rendered.sequences.loss_mask, dtype=np.int64)])
    for number in chosen.tolist():
        session = orjson.loads(messages[int(rendered.session[number])].as_py())
        begin, end = (int(rendered.sequences.offsets[number + i]) for i in (0, 1))
        spans = slice(int(rendered.span_offsets[number]), int(rendered.span_offsets[number + 1]))
        counts = (
            ones[begin + rendered.span_stop[spans]] - ones[begin + rendered.span_start[spans]]
        )  # target tokens of each span
        own = [
            float(session[message].get("weight", 1.0)) * policy[session[message]["role"]].weight
            for message in rendered.span_message[spans].tolist()
        ]
        prompts = int(ones[end] - ones[begin] - counts.sum())
        pairs = [(w, n) for w, n in zip([*own, 1.0], [*counts.tolist(), prompts], strict=True) if n]
        if len({weight for weight, _ in pairs}) == 1:
            weights[number] = pairs[0][0]
        elif pairs:
            weights[number] = sum(w * n for w, n in pairs) / sum(n for _, n in pairs)
            mixed.add(number)
    return weights, mixed
