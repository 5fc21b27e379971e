"""From a recipe's `tokenizer` section to a prepared directory (see layout): the one way in.

Whatever the tokenizer came as, it becomes a tokenizer.json with the recipe's tokens added, a document end
and a pad token chosen and checked. A file that needs no change is copied byte for byte.

Guarantees: the document end is one token and never comes out of text; tokens that exist keep their ids.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import orjson

from tokenization.errors import RecipeError
from tokenization.hashing import key_of
from tokenization.tokenizer.definition import Definition, parsed
from tokenization.tokenizer.layout import (
    CONFIG_FILE,
    MODEL_FILE,
    TEMPLATE_FILE,
    TOKENIZER_FILE,
    Facts,
    write_atomically,
)
from tokenization.tokenizer.sources import RawTokenizer, read_source

DOCUMENT_ENDS = ("<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>")
PAD_TOKENS = ("<|pad|>", "<pad>")


class TrainingSpec(Protocol):
    """The recipe's `tokenizer.train`."""

    @property
    def kind(self) -> str:
        """bpe or unigram."""
        ...

    @property
    def vocab_size(self) -> int:
        """Ids in all, special tokens included."""
        ...


class TokenizerSpec(Protocol):
    """The recipe's `tokenizer`, as far as it is used here."""

    @property
    def path(self) -> str | None:
        """Relative to the recipe, or None where one is trained."""
        ...

    @property
    def train(self) -> Any:
        """A TrainingSpec, or None."""
        ...

    @property
    def add_special_tokens(self) -> Sequence[str]:
        """Tokens to add where the vocabulary lacks them."""
        ...

    @property
    def document_end(self) -> str:
        """auto, or a token."""
        ...


@dataclass(frozen=True)
class _Token:
    text: str
    id: int


def prepare_tokenizer(
    spec: TokenizerSpec,
    base: Path,
    out: Path,
    *,
    training_texts: Iterator[str] | None = None,
    extra_tokens: Sequence[str] = (),
    seed: int = 0,
) -> Facts:
    """Make `out` a prepared directory for this tokenizer; RecipeError says what is wrong with it.

    `base` is where relative paths start; `training_texts` are read once, and only where one is trained;
    `extra_tokens` are special tokens that the chat needs beside the recipe's own.
    """
    wanted = list(dict.fromkeys([*spec.add_special_tokens, *extra_tokens]))
    raw = (
        _trained(spec.train, training_texts, wanted, seed) if spec.path is None else _loaded(spec.path, base)
    )
    _add_tokens(raw, wanted)
    definition = _checked(raw, spec.path)
    end = _document_end(definition, raw, spec.document_end)
    if end.text not in definition.added_tokens and end.text in definition.model_vocab:
        _add_tokens(raw, [end.text])  # the same id, and typed text no longer becomes it
        definition = parsed(raw.definition)
    out.mkdir(parents=True, exist_ok=True)
    write_atomically(out / TOKENIZER_FILE, raw.definition)
    write_atomically(out / CONFIG_FILE, orjson.dumps(raw.config, option=orjson.OPT_INDENT_2))
    for name, content in (
        (TEMPLATE_FILE, raw.chat_template and raw.chat_template.encode()),
        (MODEL_FILE, raw.model),
    ):
        if content:
            write_atomically(out / name, content)
        else:
            (out / name).unlink(missing_ok=True)
    facts = _facts(definition, raw, end)
    facts.write(out)
    return facts


def _loaded(path: str, base: Path) -> RawTokenizer:
    return read_source(base / Path(path).expanduser(), path)


def _trained(
    train: TrainingSpec | None, texts: Iterable[str] | None, wanted: Sequence[str], seed: int
) -> RawTokenizer:
    from tokenization.tokenizer.train import train_tokenizer

    if train is None or texts is None:
        raise RecipeError("tokenizer has neither a path nor text to train on; give one of the two")
    return train_tokenizer(train.kind, texts, train.vocab_size, wanted, seed)


def _checked(raw: RawTokenizer, path: str | None) -> Definition:
    """The definition, after the reference library has taken it."""
    try:
        reference = _ids_of_added(raw.definition)
    except Exception as error:  # the library's own errors have no common class
        raise RecipeError(f"tokenizer.path {path}: the tokenizers library refuses it: {error}") from error
    definition = parsed(raw.definition)
    for token, index in definition.added_tokens.items():
        taken = reference[token]
        if taken != index:
            raise RecipeError(
                f"tokenizer.path {path}: added token {token!r} has id {index} in the file, and the "
                f"tokenizers library makes it {taken}; ids of added tokens must follow the vocabulary "
                "without a gap"
            )
    return definition


@lru_cache(maxsize=2)
def _ids_of_added(content: bytes) -> dict[str, int | None]:
    """The added tokens' ids as the reference library takes this tokenizer.json; 0.6 s for 150,000 ids, so once."""
    from tokenizers import Tokenizer

    reference = Tokenizer.from_str(content.decode())
    return {token: reference.token_to_id(token) for token in parsed(content).added_tokens}


def _add_tokens(raw: RawTokenizer, tokens: Sequence[str]) -> None:
    """Add special tokens to the definition; nothing is rewritten where all of them are there."""
    from tokenizers import AddedToken, Tokenizer

    present = {entry["content"] for entry in parsed(raw.definition).document.get("added_tokens") or []}
    missing = [token for token in tokens if token not in present]
    if missing:
        tokenizer = Tokenizer.from_str(raw.definition.decode())
        tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in missing])
        raw.definition = tokenizer.to_str().encode()


def _document_end(definition: Definition, raw: RawTokenizer, asked: str) -> _Token:
    if asked != "auto":
        return _Token(asked, _one_token(definition, raw, asked))
    for token in DOCUMENT_ENDS:
        index = definition.id_of(token)
        if index is not None:
            return _Token(token, index)
    raise RecipeError(
        f"tokenizer.document_end: auto finds none of {', '.join(DOCUMENT_ENDS)} in this vocabulary of "
        f"{definition.vocab_size:,} tokens; name one of its tokens, or add one with "
        'add_special_tokens: ["<|endoftext|>"]'
    )


def _one_token(definition: Definition, raw: RawTokenizer, token: str) -> int:
    """The id of a token that the recipe names, also where the vocabulary spells it otherwise ("\\n")."""
    index = definition.id_of(token)
    if index is not None:
        return index
    from tokenization.tokenizer.engines import OracleEncoder

    ids, _ = OracleEncoder(definition.text_view(continuing=True)).encode([token])
    if len(ids) != 1:
        raise RecipeError(
            f"tokenizer.document_end: {token!r} is {len(ids)} tokens in this vocabulary and must be one; "
            f"name another, or add it with add_special_tokens: [{orjson.dumps(token).decode()}]"
        )
    return int(ids[0])


def _pad(definition: Definition, raw: RawTokenizer, end: _Token) -> _Token:
    for token in (raw.config.get("pad_token"), *PAD_TOKENS):
        index = definition.id_of(token) if token else None
        if index is not None:
            return _Token(str(token), index)
    return end


def _facts(definition: Definition, raw: RawTokenizer, end: _Token) -> Facts:
    pad = _pad(definition, raw, end)
    named = {}
    for name in ("bos_token", "eos_token", "unk_token"):
        token = raw.config.get(name)
        named[name] = token if token and definition.id_of(token) is not None else None
    bos, eos = named["bos_token"], named["eos_token"]
    return Facts(
        kind=str(definition.model.get("type", "bpe")).lower(),
        source=raw.source,
        document_end_token=end.text,
        document_end_token_id=end.id,
        pad_token=pad.text,
        pad_token_id=pad.id,
        bos_token=bos,
        bos_token_id=definition.id_of(bos) if bos else None,
        eos_token=eos,
        eos_token_id=definition.id_of(eos) if eos else None,
        unk_token=named["unk_token"],
        vocab_size=definition.vocab_size,
        largest_id=definition.largest_id,
        fingerprint=key_of(raw.definition.decode(), end.text, end.id, pad.text, pad.id),
        notes=raw.notes,
        inexact=raw.inexact,
    )
