"""What the chat tests share: a tokenizer, tables of sessions, small readers of results."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from tokenization.chat.rendering import ChatOptions, Rendered, Renderer
from tokenization.chat.templates import ChatTemplate
from tokenization.sequences import offsets_of
from tokenization.tokenizer.definition import Definition
from tokenization.tokenizer.vocabulary import Vocabulary

SPECIALS = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<think>",
    "</think>",
    "<tool_call>",
    "</tool_call>",
]


class SmallTokenizer:
    """A `ChatTokenizer` over one tokenizer.json; the plain oracle, slow and exact."""

    def __init__(self, definition: Definition, config: dict[str, Any] | None = None) -> None:
        from tokenizers import Tokenizer

        config = config or {}
        self.definition = definition
        self._vocabulary = Vocabulary(definition)
        self._late = Tokenizer.from_str(definition.text_view(continuing=True))
        self._first = Tokenizer.from_str(definition.text_view())
        self._full = Tokenizer.from_str(orjson.dumps(definition.document).decode())
        self.bos_token, self.eos_token, self.pad_token = (
            _content(config.get(name)) for name in ("bos_token", "eos_token", "pad_token")
        )
        self.chat_template: str | None = config.get("chat_template")
        self.prefix_scope = definition.prefix_scope
        self.largest_id = definition.largest_id
        self.special_ids = frozenset(definition.markers.values())

    @classmethod
    def read(cls, directory: Path) -> SmallTokenizer:
        config = directory / "tokenizer_config.json"
        found = orjson.loads(config.read_bytes()) if config.exists() else {}
        return cls(Definition.read(directory / "tokenizer.json"), found)

    @property
    def added_tokens(self) -> dict[str, int]:
        return self.definition.added_tokens

    def encode_batch(
        self, texts: list[str], continuing: list[bool] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        late = continuing or [False] * len(texts)
        encoded = [
            (self._late if goes_on else self._first).encode(text, add_special_tokens=False).ids
            for text, goes_on in zip(texts, late, strict=True)
        ]
        lengths = np.array([len(ids) for ids in encoded], np.int64)
        flat = np.array([i for ids in encoded for i in ids], np.uint32)
        return flat, offsets_of(lengths)

    def token_bytes(self, token_id: int) -> bytes:
        return self._vocabulary.token_bytes(token_id)

    def decode(self, ids: Iterable[int]) -> str:
        return str(self._full.decode([int(i) for i in ids], skip_special_tokens=False))


def _content(token: Any) -> str | None:
    return token.get("content") if isinstance(token, dict) else token


def byte_tokenizer(specials: Sequence[str] = SPECIALS, **config: Any) -> SmallTokenizer:
    """One token a byte, and these special tokens: small enough to reason about."""
    from tokenizers import Tokenizer, decoders, pre_tokenizers
    from tokenizers.models import BPE

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(BPE({character: i for i, character in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(specials))
    return SmallTokenizer(Definition(orjson.loads(tokenizer.to_str())), config)


def transformers_tokenizer(tokenizer: Any, template: str) -> Any:
    """transformers' own over the same definition, with this template."""
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    named = {n: getattr(tokenizer, n) for n in ("bos_token", "eos_token") if getattr(tokenizer, n)}
    full = Tokenizer.from_str(orjson.dumps(tokenizer.definition.document).decode())
    return PreTrainedTokenizerFast(tokenizer_object=full, chat_template=template, **named)


def table(*sessions: Sequence[dict[str, Any]] | dict[str, Any]) -> pa.Table:
    """Sessions, each a list of messages or {messages, tools}, as ingest hands them over."""
    rows = [s if isinstance(s, dict) else {"messages": s} for s in sessions]
    return pa.table(
        {
            "messages": pa.array([orjson.dumps(r["messages"]).decode() for r in rows], pa.large_string()),
            "tools": pa.array(
                [orjson.dumps(r["tools"]).decode() if r.get("tools") else None for r in rows],
                pa.large_string(),
            ),
        }
    )


def renderer(template: str, tokenizer: Any, **options: Any) -> Renderer:
    chosen = ChatOptions(**options)
    return Renderer(ChatTemplate.load(template, tokenizer, roles=chosen.roles), tokenizer, chosen)


def texts(rendered: Rendered, tokenizer: Any) -> list[str]:
    """Each sequence as text."""
    s = rendered.sequences
    return [tokenizer.decode(s.input_ids[a:b]) for a, b in zip(s.offsets, s.offsets[1:], strict=False)]


def trained(rendered: Rendered, tokenizer: Any) -> list[list[str]]:
    """For each sequence its runs of trained tokens, as text."""
    s = rendered.sequences
    found = []
    for start, stop in zip(s.offsets, s.offsets[1:], strict=False):
        mask = s.loss_mask[start:stop]
        edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(np.int8), [0]])))
        ids = s.input_ids[start:stop]
        found.append([tokenizer.decode(ids[a:b]) for a, b in edges.reshape(-1, 2)])
    return found


def user(content: str, **more: Any) -> dict[str, Any]:
    return {"role": "user", "content": content, **more}


def assistant(content: str, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, **more}


def system(content: str) -> dict[str, Any]:
    return {"role": "system", "content": content}


def call(name: str, **arguments: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "arguments": arguments}}
