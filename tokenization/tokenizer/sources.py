"""What lies at a recipe's tokenizer path, told by content and not by name.

A directory is searched for a tokenizer.json, then for vocab.json with merges.txt, then for a file that is a
SentencePiece model or tiktoken ranks. Each kind has its converter, and all of them give a `RawTokenizer`:
a tokenizer.json and what was said beside it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from tokenization.errors import RecipeError
from tokenization.tokenizer.definition import Json, parsed

VOCAB_AND_MERGES = (("vocab.json", "merges.txt"), ("encoder.json", "vocab.bpe"))
_RANK_LINE = re.compile(rb"[A-Za-z0-9+/]+={0,2} \d+\r?\n?")
_LARGEST_MODEL = 256 << 20  # bytes; a larger file in a directory is not a tokenizer
_WAYS = "a Hugging Face directory, a tokenizer.json, a SentencePiece model or tiktoken ranks"


@dataclass
class RawTokenizer:
    """A tokenizer.json from anywhere, before the recipe's own wishes."""

    source: str  # huggingface | vocab_and_merges | sentencepiece | tiktoken | trained
    definition: bytes  # tokenizer.json
    config: Json = field(default_factory=dict)  # tokenizer_config.json as it came, named tokens as strings
    chat_template: str | None = None
    model: bytes | None = None  # the SentencePiece model it came from
    notes: list[str] = field(default_factory=list)
    inexact: str = ""  # why the conversion does not serve


def read_source(path: Path, shown: str) -> RawTokenizer:
    """The tokenizer at `path`; `shown` is how the recipe wrote it. RecipeError where there is none."""
    if not path.exists():
        raise RecipeError(f"tokenizer.path {shown}: there is nothing at {path}; give {_WAYS}")
    return _read_directory(path, shown) if path.is_dir() else _read_file(path, shown)


def _read_directory(directory: Path, shown: str) -> RawTokenizer:
    from tokenization.tokenizer import huggingface

    found: RawTokenizer | None = None
    if (directory / "tokenizer.json").is_file():
        found = huggingface.from_tokenizer_json(_definition(directory / "tokenizer.json", shown))
    for vocab, merges in VOCAB_AND_MERGES if found is None else ():
        if (directory / vocab).is_file() and (directory / merges).is_file():
            found = huggingface.from_vocab_and_merges(directory / vocab, directory / merges)
            break
    if found is None:
        models = [file for file in sorted(directory.iterdir()) if _kind_of(file) in _MODEL_KINDS]
        if not models:
            names = ", ".join(sorted(file.name for file in directory.iterdir())[:8]) or "nothing"
            raise RecipeError(
                f"tokenizer.path {shown} is a directory with no tokenizer in it ({names}); give {_WAYS}"
            )
        found = _read_file(models[0], shown)
    return huggingface.with_neighbours(found, directory)


def _read_file(path: Path, shown: str) -> RawTokenizer:
    from tokenization.tokenizer import huggingface, sentencepiece_model, tiktoken_ranks

    kind = _kind_of(path)
    if kind == "tokenizer.json":
        raw = huggingface.from_tokenizer_json(_definition(path, shown))
        return huggingface.with_neighbours(raw, path.parent) if path.name == "tokenizer.json" else raw
    if kind == "sentencepiece":
        return sentencepiece_model.convert(path.read_bytes())
    if kind == "tiktoken":
        return tiktoken_ranks.convert(path.read_bytes(), shown)
    raise RecipeError(f"tokenizer.path {shown} is {kind}, which is not a tokenizer; give {_WAYS}")


_MODEL_KINDS = ("sentencepiece", "tiktoken")


def _kind_of(path: Path) -> str:
    """tokenizer.json | sentencepiece | tiktoken, or a few words on what the file is instead."""
    if not path.is_file():
        return "a directory" if path.is_dir() else "no file"
    size = path.stat().st_size
    if size == 0:
        return "an empty file"
    if size > _LARGEST_MODEL:
        return f"a file of {size:,} bytes"
    with open(path, "rb") as file:
        head = file.read(4096)
    if head.lstrip()[:1] in (b"{", b"["):
        return _json_kind(path)
    if all(_RANK_LINE.fullmatch(line) for line in head.splitlines(keepends=True)[:3]):
        return "tiktoken"
    from tokenization.tokenizer.sentencepiece_proto import looks_like_model

    if looks_like_model(path.read_bytes()):
        return "sentencepiece"
    return f"a file of {size:,} bytes that begins with {head[:16]!r}"


def _json_kind(path: Path) -> str:
    try:
        document = parsed(path.read_bytes()).document
    except orjson.JSONDecodeError:
        return "broken JSON"
    if not isinstance(document, dict):
        return "a JSON list"
    model = document.get("model")
    if isinstance(model, dict) and "vocab" in model:
        return "tokenizer.json"
    if "config" in document and isinstance(document.get("vocab"), list):
        return "a Mistral tekken file (convert it to a tokenizer.json with transformers first)"
    keys = ", ".join(list(document)[:4])
    return f"JSON with the keys {keys}"


def _definition(path: Path, shown: str) -> bytes:
    kind = _kind_of(path)
    if kind != "tokenizer.json":
        raise RecipeError(f"tokenizer.path {shown}: {path.name} is {kind}, not a Hugging Face tokenizer.json")
    return path.read_bytes()
