"""A SentencePiece model as a Hugging Face tokenizer.json, and the proof that it gives the same ids.

BPE models carry no merges: every way to split a piece into two pieces is one, in the order of the pieces'
scores, which is the order in which the model merges. Spaces become U+2581 and, where the model adds a dummy
prefix, one is put before a string. Control and byte pieces take part in no merge.

The conversion is compared with the model itself on odd texts and on random strings of its own pieces. Where
an id differs, the reason is recorded and the model itself encodes (slower, and right).
"""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import orjson

from tokenization.errors import RecipeError
from tokenization.tokenizer.definition import Definition, Json, is_marker
from tokenization.tokenizer.engines import OracleEncoder, PieceEncoder
from tokenization.tokenizer.identity import ODD_TEXTS, prove_identity
from tokenization.tokenizer.sentencepiece_proto import (
    ModelType,
    Piece,
    PieceModel,
    PieceType,
    read_model,
    with_controls,
    without_dummy_prefix,
)
from tokenization.tokenizer.sources import RawTokenizer

_SPACE = "\u2581"
_BYTE_SCORE = -10_000.0
_RANDOM_TEXTS = 500
_ADDED = (PieceType.CONTROL, PieceType.UNKNOWN, PieceType.USER_DEFINED)


def convert(content: bytes) -> RawTokenizer:
    """The model file's tokenizer.json; `inexact` says why where it does not give the model's ids."""
    model = read_model(content)
    if model.type not in (ModelType.BPE, ModelType.UNIGRAM):
        raise RecipeError(
            f"a SentencePiece model of type {model.type.name.lower()} cannot be a tokenizer.json; "
            "bpe and unigram models can"
        )
    definition = orjson.dumps(_document(model))
    text_model = with_controls(content, _markers(model))
    raw = RawTokenizer("sentencepiece", definition, _named(model), model=text_model)
    raw.inexact = _compare(Definition(orjson.loads(definition)), model, text_model)
    if raw.inexact:
        raw.notes.append(f"tokenizer.json is close to the SentencePiece model, not equal: {raw.inexact}")
    return raw


def _document(model: PieceModel) -> Json:
    added = [_added_token(index, piece) for index, piece in enumerate(model.pieces) if piece.type in _ADDED]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": {"type": "Sequence", "normalizers": _normalizers(model)},
        "pre_tokenizer": None,
        "post_processor": None,
        "decoder": _decoder(model),
        "model": _bpe(model) if model.type is ModelType.BPE else _unigram(model),
    }


def _added_token(index: int, piece: Piece) -> Json:
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": index, "content": piece.text, **flags, "special": piece.type is not PieceType.USER_DEFINED}


def _normalizers(model: PieceModel) -> list[Json]:
    steps: list[Json] = []
    if model.charsmap:
        charsmap = base64.b64encode(model.charsmap).decode()
        steps.append({"type": "Precompiled", "precompiled_charsmap": charsmap})
    if model.remove_extra_whitespaces:
        steps.append({"type": "Strip", "strip_left": True, "strip_right": True})
        steps.append({"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "})
    if model.add_dummy_prefix:
        steps.append({"type": "Prepend", "prepend": _SPACE})
    if model.escape_whitespaces:
        steps.append({"type": "Replace", "pattern": {"String": " "}, "content": _SPACE})
    return steps


def _decoder(model: PieceModel) -> Json:
    steps: list[Json] = [
        {"type": "Replace", "pattern": {"String": _SPACE}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
    ]
    if model.add_dummy_prefix:
        steps.append({"type": "Strip", "content": " ", "start": 1, "stop": 0})
    return {"type": "Sequence", "decoders": steps}


def _bpe(model: PieceModel) -> Json:
    return {
        "type": "BPE",
        "dropout": None,
        "unk_token": model.pieces[model.unk_id].text,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": True,
        "byte_fallback": model.byte_fallback,
        "ignore_merges": False,
        "vocab": {piece.text: index for index, piece in enumerate(model.pieces)},
        "merges": _merges(model.pieces),
    }


def _merges(pieces: list[Piece]) -> list[list[str]]:
    """Every split of a piece into two, best-scored piece first; equal pieces' splits by their parts' ids."""
    ids = {piece.text: index for index, piece in enumerate(pieces) if piece.type is PieceType.NORMAL}
    merges = []
    for text in sorted(ids, key=lambda text: (-pieces[ids[text]].score, ids[text])):
        splits = ((text[:cut], text[cut:]) for cut in range(1, len(text)))
        found = [(left, right) for left, right in splits if left in ids and right in ids]
        merges += [[left, right] for left, right in sorted(found, key=lambda s: (ids[s[0]], ids[s[1]]))]
    return merges


def _unigram(model: PieceModel) -> Json:
    """Byte pieces cost so much that a typed `<0x0A>` stays text; fallback finds them by name, not by cost."""
    return {
        "type": "Unigram",
        "unk_id": model.unk_id,
        "vocab": [[p.text, _BYTE_SCORE if p.type is PieceType.BYTE else p.score] for p in model.pieces],
        "byte_fallback": model.byte_fallback,
    }


def _named(model: PieceModel) -> dict[str, Any]:
    named = {
        "bos_token": model.bos_id,
        "eos_token": model.eos_id,
        "pad_token": model.pad_id,
        "unk_token": model.unk_id,
    }
    return {name: model.pieces[i].text for name, i in named.items() if 0 <= i < len(model.pieces)}


def _markers(model: PieceModel) -> set[int]:
    """User-defined pieces that are structure: the model would read them out of text."""
    return {
        index
        for index, piece in enumerate(model.pieces)
        if piece.type is PieceType.USER_DEFINED and is_marker({"content": piece.text})
    }


def _compare(definition: Definition, model: PieceModel, content: bytes) -> str:
    """Why the conversion differs from the model, or ""."""
    if model.treat_whitespace_as_suffix or not model.escape_whitespaces:
        return "the model treats spaces in a way that a tokenizer.json cannot say"
    texts = [*ODD_TEXTS, *_random_texts(model)]
    for continuing in (False, True):
        oracle = OracleEncoder(definition.text_view(continuing=continuing))
        truth = PieceEncoder(without_dummy_prefix(content) if continuing else content)
        report = prove_identity(oracle, truth, texts)
        if not report.identical:
            first = report.differing[0]
            return (
                f"{len(report.differing)} of {report.texts} texts differ, first {first.text[:60]!r} at token "
                f"{first.token} ({first.fast[:3]} instead of {first.oracle[:3]})"
            )
    return ""


def _random_texts(model: PieceModel) -> list[str]:
    """Strings of random pieces: they meet merges that ordinary text seldom does."""
    chance = np.random.default_rng(0)
    usable = [piece.text.replace(_SPACE, " ") for piece in model.pieces if piece.type is PieceType.NORMAL]
    return [
        "".join(usable[i] for i in chance.integers(len(usable), size=int(chance.integers(1, 40))))
        for _ in range(_RANDOM_TEXTS)
    ]
