"""Tokenizers in Hugging Face's files: tokenizer.json, or vocab.json with merges.txt, and their config.

A tokenizer.json is taken as it is, byte for byte. vocab.json with merges.txt says nothing of how text is
split before merging; the config's class tells (Qwen2's pattern and NFC), and GPT-2's is meant without one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

from tokenization.errors import RecipeError
from tokenization.tokenizer.definition import Json
from tokenization.tokenizer.patterns import GPT2, QWEN2, byte_level
from tokenization.tokenizer.sources import RawTokenizer

NAMED_TOKENS = ("bos_token", "eos_token", "pad_token", "unk_token")
_CONTROL_LIKE = ("<|endoftext|>", "<|end_of_text|>", "<s>", "</s>", "<eos>", "<pad>", "<unk>", "<|pad|>")


def from_tokenizer_json(definition: bytes) -> RawTokenizer:
    """The definition as it came."""
    return RawTokenizer("huggingface", definition)


def from_vocab_and_merges(vocab: Path, merges: Path) -> RawTokenizer:
    """A byte-level BPE from its two files."""
    from tokenizers import Tokenizer
    from tokenizers.models import BPE

    config = _read_json(vocab.parent / "tokenizer_config.json")
    try:
        tokenizer = Tokenizer(BPE.from_file(str(vocab), str(merges)))
    except Exception as error:  # the library's own errors have no common class
        raise RecipeError(f"{vocab.name} and {merges.name} in {vocab.parent} do not load: {error}") from error
    qwen = str(config.get("tokenizer_class", "")).startswith("Qwen2")
    byte_level(tokenizer, QWEN2 if qwen else GPT2, nfc=qwen)
    entries = _config_tokens(config, vocab.parent, tokenizer.get_vocab())
    tokenizer.add_tokens(entries)
    return RawTokenizer("vocab_and_merges", tokenizer.to_str().encode())


def _config_tokens(config: Json, directory: Path, vocab: dict[str, int]) -> list[Any]:
    """The added tokens that config, added_tokens.json and the vocabulary itself speak of, in id order."""
    from tokenizers import AddedToken

    described = {int(i): entry for i, entry in (config.get("added_tokens_decoder") or {}).items()}
    flags = {entry["content"]: bool(entry.get("special")) for entry in described.values()}
    by_id = {i: entry["content"] for i, entry in described.items()}
    by_id |= {i: token for token, i in _read_json(directory / "added_tokens.json").items()}
    known = set(by_id.values())
    for token in [*named_tokens(config, directory).values(), *_CONTROL_LIKE]:
        if token in vocab and token not in known:
            by_id[vocab[token]] = token
    return [
        AddedToken(token, special=flags.get(token, True), normalized=False)
        for _, token in sorted(by_id.items())
    ]


def with_neighbours(raw: RawTokenizer, directory: Path) -> RawTokenizer:
    """The same tokenizer with what tokenizer_config.json and the chat template files beside it say."""
    config = _read_json(directory / "tokenizer_config.json")
    raw.chat_template = _chat_template(config, directory) or raw.chat_template
    named = named_tokens(config, directory)
    merged = raw.config | {k: v for k, v in config.items() if k not in ("chat_template", *NAMED_TOKENS)}
    raw.config = merged | named
    return raw


def named_tokens(config: Json, directory: Path) -> dict[str, str]:
    """bos, eos, pad and unk as plain strings, from the config or special_tokens_map.json."""
    elsewhere = _read_json(directory / "special_tokens_map.json")
    found = {}
    for name in NAMED_TOKENS:
        token = config.get(name) or elsewhere.get(name)
        content = token.get("content") if isinstance(token, dict) else token
        if isinstance(content, str):
            found[name] = content
    return found


def _chat_template(config: Json, directory: Path) -> str | None:
    """The default template: chat_template.jinja beside it, else the config's, else chat_template.json's."""
    beside = directory / "chat_template.jinja"
    if beside.is_file():
        return beside.read_text(encoding="utf-8")
    for holder in (config, _read_json(directory / "chat_template.json")):
        template = holder.get("chat_template")
        if isinstance(template, list):  # named templates: [{"name": "default", "template": ...}, ...]
            named = {entry["name"]: entry["template"] for entry in template}
            template = named.get("default") or next(iter(named.values()), None)
        if template:
            return str(template)
    return None


def _read_json(path: Path) -> Json:
    if not path.is_file():
        return {}
    try:
        document = orjson.loads(path.read_bytes())
    except orjson.JSONDecodeError as error:
        raise RecipeError(f"{path} is not valid JSON: {error}") from error
    return document if isinstance(document, dict) else {}
