"""Builds for the trainer's tests, in the contract's layout, written with `datasets` as a stranger would.

`Segment`s are laid into windows in order; what is left of a window is padding, a segment of its own.
`write_build` writes any rows; `tiny_build` is small integers that a tiny model learns at once;
`text_build` is real text (Python's own library) with a quickly trained tokenizer, for measuring.
"""

from __future__ import annotations

import hashlib
import json
import sysconfig
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

PAD, DOCUMENT_END, START, STOP = 0, 0, 1, 2  # padding shares the document end's id, as in Qwen's vocabulary
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@dataclass(frozen=True)
class Segment:
    """Tokens of one document or session, with their mask; the first token is never a target."""

    input_ids: list[int]
    loss_mask: list[bool]
    source: str = "documents"
    weight: float = 1.0


def document(ids: Iterable[int]) -> Segment:
    """A pretraining document: all tokens but the first are targets."""
    tokens = list(ids)
    return Segment(tokens, [False] + [True] * (len(tokens) - 1))


def session(prompt: Iterable[int], answer: Iterable[int]) -> Segment:
    """A session: the answer's tokens are targets."""
    asked, answered = list(prompt), list(answer)
    return Segment(asked + answered, [False] * len(asked) + [True] * len(answered), source="chats")


def padding(length: int) -> Segment:
    return Segment([PAD] * length, [False] * length, source="")


def padded(segments: Sequence[Segment], window: int) -> list[Segment]:
    """The segments of one window and, where they leave room, its padding."""
    left = window - sum(len(segment.input_ids) for segment in segments)
    assert left >= 0
    return [*segments, padding(left)] if left else list(segments)


def windows_of(documents: Iterable[Segment], window: int) -> list[list[Segment]]:
    """Documents end to end, cut at window ends; the last window is padded."""
    rows: list[list[Segment]] = [[]]
    room = window
    for segment in documents:
        start = 0
        while start < len(segment.input_ids):
            stop = min(len(segment.input_ids), start + room)
            mask = [False, *segment.loss_mask[start + 1 : stop]]
            rows[-1].append(Segment(segment.input_ids[start:stop], mask, segment.source))
            room -= stop - start
            start = stop
            if room == 0:
                rows.append([])
                room = window
    if not rows[-1]:
        rows.pop()
    return [padded(row, window) for row in rows]


def write_build(
    path: Path,
    train: Sequence[Sequence[Segment]],
    validation: Sequence[Sequence[Segment]] = (),
    *,
    window: int,
    vocab_size: int,
    weights: bool = False,
    train_recipe: dict[str, Any] | None = None,
) -> Path:
    """Write a whole build directory; `datasets` writes the rows and the manifest comes last."""
    from datasets import DatasetDict

    fixed = all(sum(len(s.input_ids) for s in row) == window for row in [*train, *validation])
    splits = {"train": train, "validation": validation}
    DatasetDict(
        {name: _dataset(rows, window if fixed else None, weights) for name, rows in splits.items()}
    ).save_to_disk(path / "dataset")
    content = hashlib.sha256(repr([list(row) for row in [*train, *validation]]).encode())
    manifest = {
        "recipe": {"name": "test"} | ({"train": train_recipe} if train_recipe else {}),
        "fingerprint": content.hexdigest()[:32],
        "window": window,
        "seed": 17,
        "tokenizer": {
            "vocab_size": vocab_size,
            "document_end_token_id": DOCUMENT_END,
            "pad_token_id": PAD,
            "stop_token_ids": [STOP],
        },
        "splits": {name: {"num_windows": len(rows)} for name, rows in splits.items()},
    }
    (path / "manifest.json").write_text(json.dumps(manifest))
    return path


def _dataset(rows: Sequence[Sequence[Segment]], window: int | None, weights: bool) -> Any:
    from datasets import Dataset, Features, List, Value

    length = -1 if window is None else window
    features = {
        "input_ids": List(Value("int32"), length=length),
        "loss_mask": List(Value("bool"), length=length),
        "seq_lens": List(Value("int32")),
        "segments": List(
            {"source": Value("string"), "item": Value("string")}
            | {"start": Value("int64"), "length": Value("int32")}
        ),
        "kind": Value("string"),
    }
    columns: dict[str, list[Any]] = {
        "input_ids": [[token for s in row for token in s.input_ids] for row in rows],
        "loss_mask": [[flag for s in row for flag in s.loss_mask] for row in rows],
        "seq_lens": [[len(s.input_ids) for s in row] for row in rows],
        "segments": [
            [
                {"source": s.source, "item": str(number), "start": 0, "length": len(s.input_ids)}
                for number, s in enumerate(row)
            ]
            for row in rows
        ],
        "kind": ["sft" if row[0].source == "chats" else "pretrain" for row in rows],
    }
    if weights:
        features["loss_weights"] = List(Value("float32"))
        columns["loss_weights"] = [[s.weight for s in row] for row in rows]
    return Dataset.from_dict(columns, features=Features(features))


def counting(start: int, length: int, vocab_size: int) -> Segment:
    """A document that counts upwards from `start`: learnable, and different for each start."""
    return document(3 + (start + step) % (vocab_size - 3) for step in range(length))


def tiny_build(path: Path, rows: int = 12, window: int = 32, vocab_size: int = 40, held_out: int = 3) -> Path:
    """Windows of two or three short documents and a session, with some padding."""
    chance = np.random.default_rng(3)

    def row() -> list[Segment]:
        lengths = chance.integers(5, 10, 2)
        starts = chance.integers(0, vocab_size, 3)
        segments = [counting(int(s), int(n), vocab_size) for s, n in zip(starts, lengths, strict=False)]
        asked = counting(int(starts[2]), 5, vocab_size).input_ids
        return padded([session([START, *asked], [asked[-1] % (vocab_size - 3) + 3, STOP]), *segments], window)

    train = [row() for _ in range(rows)]
    write_build(path, train, [row() for _ in range(held_out)], window=window, vocab_size=vocab_size)
    word_tokenizer(path / "tokenizer", vocab_size)
    return path


def word_tokenizer(directory: Path, vocab_size: int) -> None:
    """A tokenizer of whole words w3, w4, …, with ChatML as its template."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = SPECIAL + [f"w{number}" for number in range(3, vocab_size)]
    tokenizer = Tokenizer(models.WordLevel({word: n for n, word in enumerate(words)}, unk_token="w3"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    save_tokenizer(tokenizer, directory)


def save_tokenizer(tokenizer: Any, directory: Path) -> None:
    """The tokenizer directory of a build."""
    directory.mkdir(parents=True)
    tokenizer.add_special_tokens(SPECIAL)
    tokenizer.save(str(directory / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "chat_template": TEMPLATE,
    }
    (directory / "tokenizer_config.json").write_text(json.dumps(config))
    (directory / "generation_config.json").write_text(
        json.dumps({"eos_token_id": [STOP, DOCUMENT_END], "pad_token_id": PAD})
    )


def text_build(
    path: Path, texts: Sequence[str], *, window: int = 4096, vocab_size: int = 16384, held_out: float = 0.03
) -> Path:
    """Real texts, a byte-level BPE trained on them, packed end to end; the last texts are held out."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=SPECIAL,
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(texts, trainer)
    documents = [
        document([*encoding.ids, DOCUMENT_END])
        for encoding in tokenizer.encode_batch(list(texts), add_special_tokens=False)
    ]
    order = np.random.default_rng(0).permutation(len(documents))
    kept = max(1, round(len(documents) * held_out))
    held, train = ([documents[n] for n in part] for part in (order[:kept], order[kept:]))
    write_build(
        path,
        windows_of(train, window),
        windows_of(held, window),
        window=window,
        vocab_size=tokenizer.get_vocab_size(),
    )
    save_tokenizer(tokenizer, path / "tokenizer")
    return path


def library_texts(limit: int = 400) -> list[str]:
    """Modules of Python's own library: real text that is wherever Python is."""
    root = Path(sysconfig.get_path("stdlib"))
    return [file.read_text("utf-8", "replace") for file in sorted(root.glob("*.py"))[:limit]]
