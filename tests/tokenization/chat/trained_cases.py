"""For the tests of what is trained: a tokenizer whose tokens are words, masks to read, and the prover beside them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import orjson
import pyarrow as pa
from chats import SPECIALS, SmallTokenizer

from tokenization.build.proof import Claim, Prover
from tokenization.build.proof_targets import Demands
from tokenization.build.proof_template import ServedTemplate
from tokenization.chat.rendering import Rendered, Renderer
from tokenization.chat.roles import role_policy
from tokenization.sequences import TokenSequences
from tokenization.tokenizer.definition import Definition

WORDS = "assistant user system tool answer question Hello world, this is not trained 春天 🦊 result think"


@cache
def word_tokenizer() -> SmallTokenizer:
    """A byte-level BPE that knows these words whole, with ChatML's markers and Llama-2's end."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        show_progress=False,
        special_tokens=[*SPECIALS, "<s>", "</s>", "<|user|>", "<|assistant|>", "<|system|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    made.train_from_iterator([WORDS, f" {WORDS}", WORDS.replace(" ", "\n")] * 30, trainer)
    return SmallTokenizer(Definition(orjson.loads(made.to_str())), {"bos_token": "<s>", "eos_token": "</s>"})


def shown(rendered: Rendered, tokenizer: Any) -> list[str]:
    """Each sequence's text, its runs of trained tokens in ⟦ ⟧."""
    made = []
    ids, mask, offsets = (
        rendered.sequences.input_ids,
        rendered.sequences.loss_mask,
        rendered.sequences.offsets,
    )
    for begin, end in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True):
        text, start = "", begin
        for place in range(begin + 1, end + 1):
            if place == end or mask[place] != mask[start]:
                run = tokenizer.decode(ids[start:place])
                text += f"⟦{run}⟧" if mask[start] else run
                start = place
        made.append(text)
    return made


def prover_of(renderer: Renderer) -> Prover:
    """The prover for what this renderer was asked."""
    options, template, tokenizer = renderer.options, renderer.template, renderer.tokenizer
    policy = role_policy(options.roles)
    return Prover(
        ServedTemplate(
            template.source,
            template.named_tokens,
            options.template_kwargs,
            {} if template.builtin else {name: role.header for name, role in policy.items()},
            frozenset(name for name, role in policy.items() if not role.visible_in_generation),
            options.default_system,
        ),
        tokenizer,  # type: ignore[arg-type]
        Demands(
            frozenset(name for name, role in policy.items() if role.trained),
            options.loss_on,
            options.train_on_prompt,
            options.history,
            options.reasoning,
            options.around_answers,
        ),
        num_ids=renderer.largest_id + 1,
    )


def claims_of(sessions: pa.Table, rendered: Rendered) -> list[Claim]:
    """What a build would say of each sequence."""
    claims = []
    for number, row in enumerate(rendered.session.tolist()):
        messages = orjson.loads(sessions.column("messages")[row].as_py())
        kept = rendered.kept.get(number, list(range(len(messages))))
        own = slice(int(rendered.span_offsets[number]), int(rendered.span_offsets[number + 1]))
        spans = [
            (start, stop, kept.index(message))
            for start, stop, message in zip(
                rendered.span_start[own].tolist(),
                rendered.span_stop[own].tolist(),
                rendered.span_message[own].tolist(),
                strict=True,
            )
        ]
        tools = orjson.loads(sessions.column("tools")[row].as_py() or "null")
        cut = int(rendered.cut[number])
        actions = rendered.actions_of(number)
        claims.append(Claim([messages[i] for i in kept], tools, spans, cut if cut >= 0 else None, actions))
    return claims


def unproven(renderer: Renderer, sessions: pa.Table, rendered: Rendered) -> list[str]:
    """What the prover has against these sequences, asked three times: by itself, while it learns, by shape."""
    prover, claims = prover_of(renderer), claims_of(sessions, rendered)
    problems: Sequence[str | None] = []
    for _ in range(3):
        problems = [*problems, *prover.prove_many(claims, rendered.sequences)]
    return [problem for problem in problems if problem is not None]


def with_mask(rendered: Rendered, token: int) -> TokenSequences:
    """The same sequences with the mask of one token turned over."""
    mask = rendered.sequences.loss_mask.copy()
    mask[token] ^= True
    return TokenSequences(rendered.sequences.input_ids, mask, rendered.sequences.offsets)
