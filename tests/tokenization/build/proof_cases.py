"""For the tests of the prover: a tiny tokenizer and a naive ChatML renderer that shares nothing with the real one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from tokenization.build.proof import Claim, Prover
from tokenization.build.proof_template import ServedTemplate
from tokenization.build.proof_view import Demands
from tokenization.build.proving import prove_table
from tokenization.sequences import TokenSequences, offsets_of
from tokenization.tokenizer.definition import Definition
from tokenization.tokenizer.vocabulary import Vocabulary

CLAIMS = pa.schema(
    [
        ("messages", pa.large_string()),
        ("tools", pa.large_string()),
        (
            "spans",
            pa.list_(pa.struct([("start", pa.int32()), ("stop", pa.int32()), ("message", pa.int32())])),
        ),
        ("cut", pa.int32()),
        ("actions", pa.list_(pa.string())),
    ]
)
MARKERS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TEXTS = [
    "How are you? Fine, thanks, and you.",
    "春天的河流很长。",
    "assistant user system tool",
    "🦊🦊 fox",
] * 20


class TinyTokenizer:
    """A byte-level BPE with ChatML's markers, trained here."""

    def __init__(self, normalizer: Any = None) -> None:
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

        made = Tokenizer(models.BPE())
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        made.decoder = decoders.ByteLevel()
        if normalizer is not None:
            made.normalizer = normalizer
        trainer = trainers.BpeTrainer(
            vocab_size=400,
            special_tokens=MARKERS,
            show_progress=False,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        )
        made.train_from_iterator(TEXTS, trainer)
        self.definition = Definition(orjson.loads(made.to_str()))
        self._text = Tokenizer.from_str(self.definition.text_view())
        self._vocabulary = Vocabulary(self.definition)
        self.size = made.get_vocab_size()

    @property
    def added_tokens(self) -> dict[str, int]:
        return self.definition.added_tokens

    def token_bytes(self, token_id: int) -> bytes:
        return self._vocabulary.token_bytes(token_id)

    def text(self, text: str) -> list[int]:
        return list(self._text.encode(text, add_special_tokens=False).ids)

    def marker(self, text: str) -> int:
        return self.added_tokens[text]


@cache
def tokenizer() -> TinyTokenizer:
    return TinyTokenizer()


def prover(template: str = CHATML, demands: Demands | None = None, **more: Any) -> Prover:
    own = more.pop("tokenizer", None) or tokenizer()
    served = more.pop("served", None) or ServedTemplate(template)
    return Prover(served, own, demands or Demands(), own.size, **more)


@dataclass(frozen=True)
class Made:
    """A sequence as a build would hold it."""

    claim: Claim
    ids: list[int]
    mask: list[bool]

    @property
    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        return np.array(self.ids, np.uint32), np.array(self.mask, bool)

    def with_mask(self, changes: dict[int, bool]) -> Made:
        mask = list(self.mask)
        for place, value in changes.items():
            mask[place] = value
        return replace(self, mask=mask)

    def with_spans(self, *spans: tuple[int, int, int]) -> Made:
        return replace(self, claim=replace(self.claim, spans=spans))


def rendered(messages: Sequence[dict[str, Any]], trained: Sequence[int] | None = None) -> Made:
    """ChatML by hand: the answers, and what says so itself (or these messages), and their stops are trained."""
    own = tokenizer()
    if trained is None:
        trained = [
            i
            for i, m in enumerate(messages)
            if m["role"] != "tool" and m.get("train", m["role"] == "assistant")
        ]
    ids: list[int] = []
    mask: list[bool] = []
    spans = []
    for place, message in enumerate(messages):
        header = [own.marker("<|im_start|>"), *own.text(message["role"] + "\n")]
        said = [*own.text(message["content"]), own.marker("<|im_end|>")]
        start = len(ids) + len(header)
        if place in trained:
            spans.append((start, start + len(said), place))
        ids += [*header, *said, *own.text("\n")]
        mask += (
            [False] * len(header) + [place in trained] * len(said) + [False] * (len(ids) - start - len(said))
        )
    return Made(Claim(messages, None, spans), ids, mask)


def together(made: Sequence[Made]) -> tuple[list[Claim], TokenSequences]:
    ids = np.array([token for one in made for token in one.ids], np.uint32)
    mask = np.array([flag for one in made for flag in one.mask], bool)
    return [one.claim for one in made], TokenSequences(
        ids, mask, offsets_of(np.array([len(one.ids) for one in made]))
    )


def proved(by: Prover, made: Made) -> str | None:
    """What the prover says of one sequence, asked by itself, in a batch and beside its twin in a table (where plain
    sessions of one shape are proved as one); all must agree."""
    ids, mask = made.arrays
    claim = made.claim
    alone = by.prove(claim.messages, claim.tools, ids, mask, claim.spans, claim.cut, claim.actions)
    assert by.prove_many(*together([made])) == [alone]
    claims, sequences = together([made, made])
    assert prove_table(by, table_of(claims), sequences) == [alone, alone]
    return alone


def table_of(claims: Sequence[Claim]) -> pa.Table:
    """Claims as a chunk's rows."""
    rows = [
        {
            "messages": orjson.dumps(claim.messages).decode(),
            "tools": orjson.dumps(claim.tools).decode() if claim.tools else None,
            "spans": [dict(zip(("start", "stop", "message"), span, strict=True)) for span in claim.spans],
            "cut": -1 if claim.cut is None else claim.cut,
            "actions": list(claim.actions),
        }
        for claim in claims
    ]
    return pa.Table.from_pylist(rows, schema=CLAIMS)


def chat(*turns: str, system: str | None = None) -> list[dict[str, Any]]:
    """User and assistant in turn."""
    opening = [{"role": "system", "content": system}] if system is not None else []
    return opening + [
        {"role": ("user", "assistant")[place % 2], "content": text} for place, text in enumerate(turns)
    ]
