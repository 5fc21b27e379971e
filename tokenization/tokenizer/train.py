"""Tokenizers trained on a recipe's own text: byte-level BPE, or SentencePiece unigram.

A vocabulary needs a sample, not the corpus: texts are cut into pieces and the pieces with the smallest
hashes are kept, up to 32 MB. Which ones these are depends on nothing but the texts and the seed, neither on
their order nor on the machine, so the same text gives the same bytes of tokenizer.json.
Price: memory for the sample; 32 MB train in well under a minute.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import orjson
import xxhash

from tokenization.errors import RecipeError
from tokenization.tokenizer.definition import Definition
from tokenization.tokenizer.patterns import QWEN2, byte_level
from tokenization.tokenizer.sources import RawTokenizer

SAMPLE_BYTES = 32 << 20
_PIECE_CHARACTERS = 16 << 10  # a long document competes piece by piece, so that none fills the sample

# Ids 0, 1, 2, ... of a trained tokenizer, in this order; the recipe's own tokens follow.
SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>")
# Structure that a reader of an answer wants to see: not hidden by skip_special_tokens.
SHOWN_TOKENS = (
    "<think>", "</think>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>",
)  # fmt: skip
_BYTES = 256


def train_tokenizer(
    kind: str, texts: Iterable[str], vocab_size: int, add_special_tokens: Sequence[str], seed: int
) -> RawTokenizer:
    """A trained tokenizer, ready to be prepared."""
    special = list(dict.fromkeys([*SPECIAL_TOKENS, *SHOWN_TOKENS, *add_special_tokens]))
    config = {"eos_token": "<|im_end|>", "pad_token": "<|pad|>", "bos_token": None, "unk_token": None}
    if kind == "bpe":
        trained = train_bpe(texts, vocab_size, special, seed)
        raw = RawTokenizer("trained", trained.to_str().encode(), config)
    elif kind == "unigram":
        raw = train_unigram(texts, vocab_size, special, seed)
        raw.config = config | {"unk_token": raw.config["unk_token"]}
    else:
        raise RecipeError(f"tokenizer.train.kind is {kind!r}; it can be bpe or unigram")
    made = Definition(orjson.loads(raw.definition)).vocab_size
    if made < vocab_size:
        raw.notes.append(f"the text gave {made:,} tokens instead of the {vocab_size:,} asked for")
    return raw


def train_bpe(texts: Iterable[str], vocab_size: int, special_tokens: Sequence[str], seed: int) -> Any:
    """A byte-level BPE `tokenizers.Tokenizer`, one digit a piece; ids: special tokens, bytes, merges."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    _check_room(vocab_size, len(special_tokens) + _BYTES)
    tokenizer = Tokenizer(models.BPE())
    byte_level(tokenizer, QWEN2)
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(special_tokens),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    sample = _some(sample_texts(texts, seed))
    tokenizer.train_from_iterator(sample, trainer)
    document = orjson.loads(tokenizer.to_str())
    for entry in document["added_tokens"]:
        entry["special"] = entry["content"] not in SHOWN_TOKENS
    return Tokenizer.from_str(orjson.dumps(document).decode())


def sample_texts(texts: Iterable[str], seed: int, limit: int = SAMPLE_BYTES) -> list[str]:
    """The pieces with the smallest hashes that fit into `limit` UTF-8 bytes together, in hash order."""
    kept: list[tuple[int, str]] = []  # a heap, largest hash first
    hashes: set[int] = set()
    size, ceiling = 0, 1 << 64
    for piece in _pieces(texts):
        content = piece.encode()
        name = xxhash.xxh3_64_intdigest(content, seed=seed & 0xFFFFFFFFFFFFFFFF)
        if name >= ceiling or name in hashes:
            continue
        heapq.heappush(kept, (-name, piece))
        hashes.add(name)
        size += len(content)
        while size > limit and len(kept) > 1:
            largest, dropped = heapq.heappop(kept)
            ceiling = -largest
            hashes.discard(ceiling)
            size -= len(dropped.encode())
    return [piece for _, piece in sorted(kept, reverse=True)]


def _pieces(texts: Iterable[str]) -> Iterator[str]:
    for text in texts:
        for start in range(0, len(text), _PIECE_CHARACTERS):
            yield text[start : start + _PIECE_CHARACTERS]


def _some(texts: Iterable[str]) -> list[str]:
    """The texts; RecipeError where there are none."""
    found = list(texts)
    if not found:
        raise RecipeError("tokenizer.train: the recipe's sources have no text to train on")
    return found


def _check_room(vocab_size: int, needed: int) -> None:
    if vocab_size < needed:
        raise RecipeError(
            f"tokenizer.train.vocab_size is {vocab_size:,}, and the bytes and special tokens alone are "
            f"{needed:,} ids; use at least {needed:,}"
        )


def train_unigram(
    texts: Iterable[str], vocab_size: int, special_tokens: Sequence[str], seed: int
) -> RawTokenizer:
    """A unigram with byte fallback and no dummy prefix; ids: special tokens, bytes, pieces.

    Trained line by line with one thread: with more, the order of sums and so the pieces would vary. What
    counts from then on is the tokenizer.json, so ties that sentencepiece would break otherwise don't matter.
    """
    import io

    import sentencepiece

    from tokenization.tokenizer.sentencepiece_model import convert

    _check_room(vocab_size, len(special_tokens) + 1 + _BYTES + 1)
    model = io.BytesIO()
    lines = _some(line for piece in sample_texts(texts, seed) for line in piece.split("\n") if line.strip())
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(lines),
            model_writer=model,
            model_type="unigram",
            vocab_size=vocab_size,
            hard_vocab_limit=False,
            required_chars="<>x0123456789ABCDEF",  # so that a typed <0x0A> need never be read as a byte
            control_symbols=list(special_tokens),
            byte_fallback=True,
            character_coverage=0.9995,
            normalization_rule_name="identity",
            add_dummy_prefix=False,
            remove_extra_whitespaces=False,
            allow_whitespace_only_pieces=True,
            split_digits=True,
            unk_id=len(special_tokens),
            bos_id=-1,
            eos_id=-1,
            pad_id=-1,
            num_threads=1,
            shuffle_input_sentence=False,
            max_sentence_length=_PIECE_CHARACTERS * 4,
            minloglevel=2,
        )
    except (RuntimeError, OSError) as error:
        raise RecipeError(
            f"tokenizer.train: sentencepiece cannot make {vocab_size:,} pieces of this text: {error}"
        ) from error
    return _with_shown(convert(model.getvalue()))


def _with_shown(raw: RawTokenizer) -> RawTokenizer:
    document = orjson.loads(raw.definition)
    for entry in document["added_tokens"]:
        entry["special"] = entry["content"] not in SHOWN_TOKENS
    return RawTokenizer("trained", orjson.dumps(document), raw.config)
